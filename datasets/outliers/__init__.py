"""One file per source of outliers; to add a source, add a file here and a yaml in configs/outliers."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.dataset import Branch, Key, Outliers
from harness.core.random import derive

STARTS = 1 << 40
"""Synthetic sampling starts are numbered from here, training outliers from 0, so the two are disjoint."""


class Synthetic(Outliers):
    """Outliers that are made by number: the first `count` to train against, those from STARTS on to sample from."""

    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Training outliers."""
        return self.make([index for index, _ in keys])

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Sampling starts."""
        return self.make([STARTS + index for index in indices])

    @abstractmethod
    def make(self, numbers: Sequence[int]) -> Tensor:
        """The images of some numbers, N x C x H x W, in [0, 1]."""

    def generator(self, kind: str, number: int) -> torch.Generator:
        """The random generator of one image."""
        return torch.Generator().manual_seed(derive(self.seed, kind, number))
