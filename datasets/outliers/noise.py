"""Uniform noise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Key, Outliers
from harness.core.settings import settings
from harness.datasets.outliers import STARTS, numbered


@settings
class Noise(Outliers):
    """Images of values drawn uniformly from [0, 1). count: number of training outliers. seed: of all images."""

    data: Dataset
    count: int = 300_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be 1 or more, not {self.count}")

    def __len__(self) -> int:
        return self.count

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Noise images by number."""
        return torch.stack([self._make(index) for index, _ in keys])

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Noise images with numbers beyond those of the training outliers."""
        return torch.stack([self._make(STARTS + index) for index in indices])

    def _make(self, number: int) -> Tensor:
        return torch.rand(self.data.shape, generator=numbered(self.seed, "noise", number))
