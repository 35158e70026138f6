"""Images that are not of the data, made without any download."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from harness.data import Dataset, Outliers
from harness.randomness import derive
from harness.settings import settings

STARTS = 1 << 40
"""Sampling starts are numbered from here, training outliers from 0: the two never meet."""


@settings
class Fields(Outliers):
    """Smooth random fields: Gaussian noise on a coarse grid, enlarged, squashed into [0, 1].

    count: how many to train against. grid: side of the coarse noise. contrast, offset: of the field before the
    sigmoid; an offset below 0 makes it dark. seed: of all of them.
    """

    data: Dataset
    count: int = 10_000
    grid: int = 4
    contrast: float = 2.0
    offset: float = -1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or self.grid < 1:
            raise ValueError("count and grid must be 1 or more")

    def __len__(self) -> int:
        return self.count

    def images(self, indices: Sequence[int]) -> Tensor:
        """Training outliers, from a table made once."""
        return self._table[torch.as_tensor(indices)]

    def starts(self, indices: Sequence[int]) -> Tensor:
        """Fields numbered beyond those trained against."""
        return self._make([STARTS + index for index in indices])

    @cached_property
    def _table(self) -> Tensor:
        return self._make(range(self.count))

    def _make(self, numbers: Sequence[int]) -> Tensor:
        channels, height, width = self.data.shape
        noise = torch.stack(
            [
                torch.randn(channels, self.grid, self.grid, generator=_generator(self.seed, "field", number))
                for number in numbers
            ]
        )
        field = interpolate(noise, size=(height, width), mode="bicubic", align_corners=False)
        return torch.sigmoid(self.contrast * field + self.offset)


@settings
class Patches(Outliers):
    """Training images cut into `tile`-sided patches that are shuffled: right in texture, wrong in shape."""

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

    def images(self, indices: Sequence[int]) -> Tensor:
        """Shuffled training images."""
        return torch.stack([self._make(index) for index in indices])

    def starts(self, indices: Sequence[int]) -> Tensor:
        """Shuffles numbered beyond those trained against."""
        return self.images([STARTS + index for index in indices])

    @cached_property
    def _sources(self) -> Tensor:
        return self.data.tensors("train")[0]

    def _make(self, number: int) -> Tensor:
        generator = _generator(self.seed, "patches", number)
        channels, height, width = self.data.shape
        source = self._sources[torch.randint(len(self._sources), (), generator=generator)]
        rows, columns, side = height // self.tile, width // self.tile, self.tile
        tiles = source.reshape(channels, rows, side, columns, side).permute(1, 3, 0, 2, 4).flatten(0, 1)
        tiles = tiles[torch.randperm(rows * columns, generator=generator)]
        return (
            tiles.reshape(rows, columns, channels, side, side).permute(2, 0, 3, 1, 4).reshape(channels, height, width)
        )


def _generator(seed: int, kind: str, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, kind, number))
