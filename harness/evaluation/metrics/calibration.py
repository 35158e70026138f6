"""Calibration: is a prediction with 90 % confidence right in 90 % of cases?"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from harness.core.dataset import Dataset, Split
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.metric import Metric, Result, Subject, require_images
from harness.evaluation.parts import Part
from harness.evaluation.pictures import reliability
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score


@settings
class Calibration(Metric):
    """ECE of the largest softmax probability, over equal-width bins (lo, hi], without temperature scaling."""

    split: Split
    bins: int
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins must be 1 or more, not {self.bins}")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that there are no more bins than images."""
        require_images(data, self.split, f"bins={self.bins}", self.bins)

    def keys(self, data: Dataset) -> list[str]:
        """One score."""
        return ["ece"]

    def shards(self, subject: Subject) -> int:
        """1: a single pass."""
        return 1

    def score(self, subject: Subject, shard: int) -> Part:
        """Confidence and correctness of each image."""
        logits, labels = subject.logits(self.split)
        confidence, predicted = logits.softmax(1).max(1)
        return {"confidence": confidence.tolist(), "right": (predicted == labels).tolist()}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The expected calibration error, and the reliability diagram with its bins."""
        confidence = np.concatenate([part["confidence"] for part in parts])
        right = np.concatenate([part["right"] for part in parts])
        value = 100 * expected_calibration_error(confidence, right, self.bins)
        score = Score(title="ECE", value=value, n=len(right), unit="%", better="lower")
        accuracy, counts = by_bin(confidence, right, self.bins)

        def draw(path: Path) -> None:
            reliability(path, accuracy, counts, f"ECE {value:.1f} %, {len(right)} images")

        edges = np.linspace(0, 1, self.bins + 1).round(6).tolist()
        rights = np.rint(np.nan_to_num(accuracy) * counts).astype(int).tolist()
        bins = zip(edges[:-1], edges[1:], counts.tolist(), rights, strict=True)
        table = [{"low": low, "high": high, "count": n, "right": of_these} for low, high, n, of_these in bins]
        return Result({"ece": score}, pictures={"reliability": draw}, tables={"reliability": table})


def by_bin(confidence: np.ndarray, right: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """For each bin of confidence, the accuracy of its images (NaN if empty) and their number."""
    bin_of = _bin_indices(confidence, bins)
    counts, rights = (np.bincount(bin_of, weights=weights, minlength=bins) for weights in (None, right))
    return np.divide(rights, counts, out=np.full(bins, np.nan), where=counts > 0), counts


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """Σ_b |B_b| / n · | accuracy(B_b) − confidence(B_b) | (Naeini et al. 2015); bins exclude their lower bound."""
    gaps = np.bincount(_bin_indices(confidence, bins), weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(right))


def _bin_indices(confidence: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each confidence: (lo, hi]; 0 falls in the first."""
    return np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
