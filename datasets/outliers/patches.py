"""Training images with shuffled patches."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Key, Outliers
from harness.core.settings import settings
from harness.datasets.outliers import STARTS, numbered


@settings
class Patches(Outliers):
    """Training images cut into shuffled patches of side `tile`: they keep the texture and lose the shape."""

    data: Dataset
    tile: int = 2
    count: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        _, height, width = self.data.shape
        if self.tile < 1 or height % self.tile or width % self.tile:
            raise ValueError(f"tile={self.tile} must divide the image's sides, {height} and {width}")
        if self.count < 1:
            raise ValueError("count must be 1 or more")

    def __len__(self) -> int:
        return self.count

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Shuffled training images."""
        return torch.stack([self._make(index) for index, _ in keys])

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Shuffles with numbers beyond those of the training outliers."""
        return torch.stack([self._make(STARTS + index) for index in indices])

    @cached_property
    def _sources(self) -> Tensor:
        return self.data.tensors("train")[0]

    def _make(self, number: int) -> Tensor:
        generator = numbered(self.seed, "patches", number)
        channels, height, width = self.data.shape
        source = self._sources[torch.randint(len(self._sources), (), generator=generator)]
        rows, columns, side = height // self.tile, width // self.tile, self.tile
        tiles = source.reshape(channels, rows, side, columns, side).permute(1, 3, 0, 2, 4).flatten(0, 1)
        tiles = tiles[torch.randperm(rows * columns, generator=generator)]
        return (
            tiles.reshape(rows, columns, channels, side, side).permute(2, 0, 3, 1, 4).reshape(channels, height, width)
        )
