"""Uniform noise."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.settings import settings
from harness.datasets.outliers import STARTS, Synthetic


@settings
class Noise(Synthetic):
    """Images of values drawn uniformly from [0, 1). count: number of training outliers. seed: of all images."""

    data: Dataset
    count: int = 300_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= STARTS:
            raise ValueError(f"count must be between 1 and {STARTS:,}, not {self.count}")

    def make(self, numbers: Sequence[int]) -> Tensor:
        """Noise of the data's shape."""
        return torch.stack([torch.rand(self.data.shape, generator=self.generator("noise", n)) for n in numbers])
