"""Midpoints between training images of two classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.dataset import Dataset, gather
from harness.core.settings import settings
from harness.datasets.outliers import STARTS, Synthetic


@settings
class Midpoints(Synthetic):
    """The mean of two training images of different classes: near the data, and of no class (JEM, section 5.3)."""

    data: Dataset
    count: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= STARTS:
            raise ValueError(f"count must be between 1 and {STARTS:,}, not {self.count}")

    def make(self, numbers: Sequence[int]) -> Tensor:
        """Midpoints of the data's shape."""
        labels, view = self.data.labels("train"), self.data.view("train", "plain")
        pairs = [self._pair(number, labels) for number in numbers]
        images, _ = gather(view, [(index, 0) for pair in pairs for index in pair])
        return images.view(len(pairs), 2, *self.data.shape).mean(1)

    def _pair(self, number: int, labels: Tensor) -> tuple[int, int]:
        """Two images of different classes."""
        generator = self.generator("midpoint", number)
        first = int(torch.randint(len(labels), (), generator=generator))
        others = (labels != labels[first]).nonzero().flatten()
        return first, int(others[torch.randint(len(others), (), generator=generator)])
