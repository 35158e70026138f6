"""Training images with shuffled patches."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.settings import settings
from harness.datasets.outliers import STARTS, Synthetic


@settings
class Patches(Synthetic):
    """Training images cut into shuffled patches of side `tile`: they keep the texture and lose the shape."""

    data: Dataset
    tile: int = 2
    count: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        _, height, width = self.data.shape
        if self.tile < 1 or height % self.tile or width % self.tile:
            raise ValueError(f"tile={self.tile} must divide the image's sides, {height} and {width}")
        if not 1 <= self.count <= STARTS:
            raise ValueError(f"count must be between 1 and {STARTS:,}, not {self.count}")

    @cached_property
    def _sources(self) -> Tensor:
        return self.data.tensors("train")[0]

    def make(self, numbers: Sequence[int]) -> Tensor:
        """Training images, each with its patches shuffled."""
        return torch.stack([self._shuffle(number) for number in numbers])

    def _shuffle(self, number: int) -> Tensor:
        generator = self.generator("patches", number)
        channels, height, width = self.data.shape
        source = self._sources[torch.randint(len(self._sources), (), generator=generator)]
        rows, columns, side = height // self.tile, width // self.tile, self.tile
        tiles = source.reshape(channels, rows, side, columns, side).permute(1, 3, 0, 2, 4).flatten(0, 1)
        tiles = tiles[torch.randperm(rows * columns, generator=generator)]
        return (
            tiles.reshape(rows, columns, channels, side, side).permute(2, 0, 3, 1, 4).reshape(channels, height, width)
        )
