"""Maximum mean discrepancy of features; of CLIP's it is CMMD (Jayasumana et al., CVPR 2024, arXiv 2401.09603)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.settings import settings
from harness.evaluation.features import source
from harness.evaluation.intervals import jackknife
from harness.evaluation.metric import OfSamples, Part, Result, Subject, require_images
from harness.evaluation.neighbours import blocks, distances
from harness.evaluation.reference import reference
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

SCALE = 1000
"""What the authors multiply by, to make the number readable."""


@settings
class CMMD(OfSamples):
    """The squared distance between the mean embeddings of samples x and training images y, in a Gaussian kernel.

        MMD² = mean_ij k(x_i, x_j) + mean_ij k(y_i, y_j) − 2 mean_ij k(x_i, y_j),    k(a, b) = exp( −‖a − b‖² / 2σ² )

    It assumes no shape of the distributions, as a Fréchet distance does, and takes the means over all pairs, as the
    authors' code does. features: the extractor; clip gives CMMD. sigma: the width of the kernel, in units of the
    features.
    """

    sigma: float = 10.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"sigma must be above 0, not {self.sigma}")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights."""
        source(self.features).ready(weights.get(self.features), data)
        require_images(data, "train", "cmmd")

    def keys(self, data: Dataset) -> list[str]:
        """One score."""
        return [self._key]

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The discrepancy, with its jackknife interval."""
        features, x = subject.features(self.features), self.found(subject, parts)
        n = len(x)
        against = reference(features, subject.data, "train", subject.cache)
        y = against.features
        assert y is not None
        # Sum the kernel once for each sample; what depends on the training images alone is kept beside their features.
        of_images = against.keep(f"kernel-{self.sigma:g}", lambda y: kernel_sums(y, y, self.sigma).mean() / len(y))
        among, with_images = kernel_sums(x, x, self.sigma), kernel_sums(x, y, self.sigma)

        def value_of(rows: np.ndarray) -> float:
            # Of all pairs, take away those with a sample that is left out, which counts on both sides.
            out = torch.ones(n, dtype=torch.bool)
            out[torch.from_numpy(rows)] = False
            pairs = among.sum() - 2 * among[out].sum() + kernel_sums(x[out], x[out], self.sigma).sum()
            own, cross = pairs / len(rows) ** 2, with_images[~out].mean() / len(y)
            return SCALE * float(own + of_images - 2 * cross)

        value = value_of(np.arange(n))
        low, high = jackknife(n, value_of, value)
        score = Score(
            title=f"MMD² × {SCALE}{features.source.suffix}",
            value=value,
            low=max(0.0, low),
            high=high,
            n=n,
            better="lower",
            warnings=features.warnings,
        )
        return Result({self._key: score})

    @property
    def _key(self) -> str:
        return f"mmd{source(self.features).key}"


def kernel_sums(points: Tensor, others: Tensor, sigma: float) -> Tensor:
    """For each point, N x D, the sum of the Gaussian kernel over all others, M x D: N, in float64."""
    sums = torch.zeros(len(points), dtype=torch.double)
    for first, part in blocks(points):
        for _, other in blocks(others):
            kernel = torch.exp(-(distances(part, other) ** 2) / (2 * sigma**2))
            sums[first : first + len(part)] += kernel.sum(1)
    return sums
