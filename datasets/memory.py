"""Datasets that fit in memory: all images as bytes, split by seed and augmented by branch."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from harness.core.dataset import BatchView, Branch, Dataset, Items, Key, Split
from harness.core.settings import Seed, settings
from harness.datasets.augment import Augment
from harness.datasets.split import held_out


@settings
class InMemory(Dataset):
    """Images in memory as bytes. labelled, real, outliers: the augmentation of each branch."""

    labelled: Augment = Augment()
    real: Augment = Augment()
    outliers: Augment = Augment()

    @abstractmethod
    def loaded(self, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        """Images, N x C x H x W, uint8, and their labels, N, int64, which hold a split; and the rows that are in it."""

    def view(self, split: Split, branch: Branch) -> Items:
        """A split in memory, augmented for the branch."""
        return _Bytes(*self.loaded(split), self._augment(branch))

    def labels(self, split: Split) -> Tensor:
        """The labels of a split."""
        _, labels, rows = self.loaded(split)
        return labels[rows]

    def prepare(self, image: Image.Image, branch: Branch, seed: int) -> Tensor:
        """Resize an external picture to cover the shape, centre-crop it, and augment it for the branch."""
        channels, height, width = self.shape
        picture = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height))
        return self._augment(branch)(pil_to_tensor(picture), seed)

    def _augment(self, branch: Branch) -> Augment:
        bare = {"plain": Augment(), "reference": Augment()}
        return {**bare, "labelled": self.labelled, "real": self.real, "outliers": self.outliers}[branch]


@settings
class HeldOut(InMemory):
    """A published training part and test part; some of the former are held out.

    validation: number of training images held out, stratified by class; split_seed: of that choice.
    """

    validation: int = 5000
    split_seed: Seed = 0

    def __post_init__(self) -> None:
        if self.validation < 0:
            raise ValueError(f"validation must be 0 or more, not {self.validation}")

    @abstractmethod
    def part(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        """All images of a part, N x C x H x W, uint8, and their labels, N, int64; read once per process."""

    def loaded(self, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        """The part of a split, and the rows of the split in it."""
        images, labels = self.part("test" if split == "test" else "train")
        if split == "test":
            return images, labels, torch.arange(len(labels))
        return images, labels, self._split_rows[0 if split == "train" else 1]

    @cached_property
    def _split_rows(self) -> tuple[Tensor, Tensor]:
        return held_out(self.part("train")[1], self.validation, self.split_seed)


class _Bytes(BatchView):
    """Some rows of the images in memory, as items."""

    def __init__(self, images: Tensor, labels: Tensor, rows: Tensor, augment: Augment) -> None:
        self.images, self.labels, self.rows, self.augment = images, labels, rows, augment

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        rows = self.rows[[index for index, _ in keys]]
        images, labels = self.images[rows], self.labels[rows]
        if self.augment == Augment():
            return images.float() / 255, labels
        return torch.stack([self.augment(image, seed) for image, (_, seed) in zip(images, keys, strict=True)]), labels
