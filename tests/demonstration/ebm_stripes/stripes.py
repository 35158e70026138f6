"""Horizontal and vertical stripes of 8x8 pixels, drawn by seeds."""

import torch
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Items, Split, TensorView
from harness.core.random import derive
from harness.core.settings import settings


@settings
class Stripes(Dataset):
    """Two classes of stripes, two pixels wide, shifted at random, with noise.

    count: images of the training split; the others have half of them. noise: its standard deviation. seed: of all.
    """

    count: int = 200
    noise: float = 0.2
    seed: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """The directions."""
        return "horizontal", "vertical"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grey, 8 x 8."""
        return 1, 8, 8

    def view(self, split: Split, branch: Branch) -> Items:
        """A split in memory, not augmented."""
        rng = torch.Generator().manual_seed(derive(self.seed, split))
        labels = self.labels(split)
        shifts = torch.randint(0, 4, (len(labels), 1), generator=rng)
        columns = ((torch.arange(8) + shifts) // 2 % 2).float()[:, None].expand(-1, 8, 8)
        images = torch.where(labels.bool()[:, None, None], columns, columns.mT)[:, None]
        return TensorView((images + self.noise * torch.randn(images.shape, generator=rng)).clamp(0, 1), labels)

    def labels(self, split: Split) -> Tensor:
        """The labels of a split: the two in turn."""
        return torch.arange(self.count if split == "train" else self.count // 2) % 2
