"""Calibration: does a confidence of 90 % mean 90 % right?"""

from typing import ClassVar, Literal

import numpy as np

from harness.data import Split
from harness.metric import Metric, Part, Result, Subject
from harness.record import Score
from harness.settings import settings


@settings
class Calibration(Metric):
    """ECE of the largest softmax probability, over equal bins (lo, hi] and without temperature scaling."""

    split: Split
    bins: int
    needs: ClassVar[Literal["classify", "generate"]] = "classify"

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"bins must be 1 or more, not {self.bins}")

    def shards(self, subject: Subject) -> int:
        """One: a single pass."""
        return 1

    def score(self, subject: Subject, shard: int) -> Part:
        """Confidence and correctness of each image."""
        logits, labels = subject.logits(self.split)
        confidence, predicted = logits.softmax(1).max(1)
        return {"confidence": confidence.tolist(), "right": (predicted == labels).tolist()}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The expected calibration error."""
        confidence = np.concatenate([part["confidence"] for part in parts])
        right = np.concatenate([part["right"] for part in parts])
        value = 100 * expected_calibration_error(confidence, right, self.bins)
        return Result({"ece": Score(title="ECE", value=value, n=len(right), unit="%", better="lower")})


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int) -> float:
    """Σ_b |B_b| / n · | accuracy(B_b) − confidence(B_b) | (Naeini et al. 2015), bins half-open below."""
    edges = np.linspace(0, 1, bins + 1)
    bin_of = np.digitize(confidence, edges[1:-1], right=True)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(right))
