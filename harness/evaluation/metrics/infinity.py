"""The Fréchet distance of infinitely many samples, from its trend over their number (Chong & Forsyth 2020)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.settings import Seed, settings
from harness.evaluation.features import enough, source
from harness.evaluation.intervals import jackknife
from harness.evaluation.metric import OfSamples, Part, Result, Subject
from harness.evaluation.reference import Statistics, frechet, reference
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score


@settings
class Infinity(OfSamples):
    """FD∞: the distance to the training split without the bias that a finite number of samples gives it.

    The expected distance of n samples is FD∞ + c / n to first order. It is computed of `points` numbers of samples,
    evenly spaced from `least` to all of them, each drawn from all by `seed`; a line through them over 1/n meets 1/n = 0
    at FD∞.
    """

    least: int
    seed: Seed
    points: int = 15

    def __post_init__(self) -> None:
        if self.points < 2 or self.least < 2:
            raise ValueError("points and least must be 2 or more")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights and the numbers of images."""
        extractor = source(self.features)
        extractor.ready(weights.get(self.features), data)
        enough(extractor, self.least, "least")
        enough(extractor, data.length("train"), "images of the train split")
        if self.least >= samples.count:
            raise UserError(f"least={self.least}: there are {samples.count} samples, of which it must be a part.")

    def keys(self, data: Dataset) -> list[str]:
        """One score."""
        return [self._key]

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """FD∞, with its jackknife interval."""
        features, found = subject.features(self.features), self.found(subject, parts)
        against = reference(features, subject.data, "train", subject.cache).statistics

        def value_of(rows: np.ndarray) -> float:
            return extrapolated(found[torch.from_numpy(rows)], against, self.least, self.points, self.seed)

        value = value_of(np.arange(len(found)))
        low, high = jackknife(len(found), value_of, value)
        title = f"{features.source.distance[0]}, extrapolated"
        score = Score(title=title, value=value, low=low, high=high, n=len(found), better="lower")
        return Result({self._key: score.model_copy(update={"warnings": features.warnings})})

    @property
    def _key(self) -> str:
        return f"{source(self.features).distance[1]}_infinity"


def extrapolated(found: Tensor, against: Statistics, least: int, points: int, seed: int) -> float:
    """FD∞ of features, N x D: where the line of least squares through ( 1/n, FD of n of them ) meets 1/n = 0."""
    rng = np.random.default_rng(seed)
    numbers = np.linspace(least, len(found), points).astype(int)
    chosen = [torch.from_numpy(rng.permutation(len(found))[:n]) for n in numbers]
    distances = [frechet(found[rows], against) for rows in chosen]
    return float(np.polynomial.Polynomial.fit(1 / numbers, distances, 1).convert().coef[0])
