"""What a dataset and a source of outliers give."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset as View

from harness.randomness import derive

Split = Literal["train", "validation", "test"]
Branch = Literal["plain", "labelled", "real"]
"""How images are augmented: not at all, strongly (for cross-entropy), mildly (as real images for the energy)."""

Key = tuple[int, int]
"""(index of the item, seed of its augmentation): all that an item depends on."""

Items = View[tuple[Tensor, Tensor]]
"""Key → (image, label). With `__getitems__`, a list of keys → (images, labels)."""


class Dataset(ABC):
    """Labelled images in fixed splits; float [0, 1], NCHW.

    A subclass is a frozen dataclass whose fields are those of configs/data/<name>.yaml under `data`.
    """

    classes: ClassVar[tuple[str, ...]]
    shape: ClassVar[tuple[int, int, int]]

    @abstractmethod
    def view(self, split: Split, branch: Branch) -> Items:
        """One split, augmented for one branch, as items addressed by `Key`."""

    @abstractmethod
    def labels(self, split: Split) -> Tensor:
        """The labels of a split, N, int64, in the order of its indices."""

    def tensors(self, split: Split) -> tuple[Tensor, Tensor]:
        """All images of a split, not augmented, and their labels; for splits that fit in memory."""
        view = self.view(split, "plain")
        return gather(view, [(index, 0) for index in range(len(self.labels(split)))])


class Outliers(ABC):
    """Images that are not of the data: where the contrastive walks and the samplers start.

    A subclass is a dataclass whose fields are those of configs/outliers/<name>.yaml under `outliers`; the
    dataset is handed to it as `data`.
    """

    data: Dataset

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are to train against."""

    @abstractmethod
    def images(self, indices: Sequence[int]) -> Tensor:
        """Training outliers by index, N x C x H x W."""

    @abstractmethod
    def starts(self, indices: Sequence[int]) -> Tensor:
        """Where samples start: fixed, in order, and disjoint from the training outliers."""


def gather(view: Items, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
    """The items of some keys as one batch."""
    fetch = getattr(view, "__getitems__", None)
    if fetch is not None:
        return fetch(list(keys))
    images, labels = zip(*(view[key] for key in keys), strict=True)
    return torch.stack(images), torch.stack(labels)


class OutlierView(View[tuple[Tensor, Tensor]]):
    """Outliers as items, labelled −1, so that they load like any other images."""

    def __init__(self, outliers: Outliers) -> None:
        self.outliers = outliers

    def __len__(self) -> int:
        return len(self.outliers)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        return self.outliers.images([index for index, _ in keys]), torch.full((len(keys),), -1)


class TensorView(View[tuple[Tensor, Tensor]]):
    """Images in memory as items, with an optional shift by up to `pad` pixels that fills with black."""

    def __init__(self, images: Tensor, labels: Tensor, pad: int = 0) -> None:
        self.images, self.labels, self.pad = images, labels, pad

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        indices = torch.tensor([index for index, _ in keys])
        images = self.images[indices]
        if self.pad:
            images = self._shifted(images, [seed for _, seed in keys])
        return images, self.labels[indices]

    def _shifted(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Random crops of the padded images, each from its own seed."""
        side, places = images.shape[-1], 2 * self.pad + 1
        windows = self._padded(images).unfold(2, side, 1).unfold(3, side, 1)
        corners = torch.tensor([divmod(derive(seed, "shift") % places**2, places) for seed in seeds])
        return windows[torch.arange(len(images)), :, corners[:, 0], corners[:, 1]]

    def _padded(self, images: Tensor) -> Tensor:
        return torch.nn.functional.pad(images, [self.pad] * 4)
