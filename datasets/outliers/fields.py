"""Smooth random fields, generated without any download."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from harness.core.dataset import Dataset, Key
from harness.core.settings import settings
from harness.datasets.outliers import Synthetic

LARGEST = 10_000_000
"""The most training outliers: 2.6 GB of images of 8 x 8."""


@settings
class Fields(Synthetic):
    """Smooth random fields: Gaussian noise on a coarse grid, upsampled and squashed into [0, 1].

    count: number of training outliers. grid: side of the coarse noise. contrast, offset: scale and shift of the field
    before the sigmoid; a negative offset makes it dark. seed: of all fields.
    """

    data: Dataset
    count: int = 10_000
    grid: int = 4
    contrast: float = 2.0
    offset: float = -1.0
    seed: int = 0

    def __post_init__(self) -> None:
        _, height, width = self.data.shape
        if not (1 <= self.count <= LARGEST and 1 <= self.grid <= max(height, width)):
            raise ValueError(
                f"count must be between 1 and {LARGEST:,}, as all are kept in memory, and grid between 1 and the "
                f"images' side, {max(height, width)}"
            )

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Training outliers, from a table that is computed once."""
        return self._table[[index for index, _ in keys]]

    @cached_property
    def _table(self) -> Tensor:
        return self.make(range(self.count))

    def make(self, numbers: Sequence[int]) -> Tensor:
        """Fields of the data's shape."""
        channels, height, width = self.data.shape
        noise = torch.stack(
            [
                torch.randn(channels, self.grid, self.grid, generator=self.generator("field", number))
                for number in numbers
            ]
        )
        field = interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)
        return torch.sigmoid(self.contrast * field + self.offset)
