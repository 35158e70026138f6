"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import torch
import torchvision.datasets
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from harness.core.dataset import BatchView, Branch, Dataset, Items, Key, Split
from harness.core.settings import Seed, later, settings
from harness.datasets.augment import Augment
from harness.datasets.cifar_archive import Archive
from harness.datasets.cifar_classes import CLASSES_10, CLASSES_100
from harness.datasets.split import held_out

ARCHIVE_10 = Archive(
    name="CIFAR10",
    folder="cifar-10-batches-py",
    train=dict(torchvision.datasets.CIFAR10.train_list),
    test=dict(torchvision.datasets.CIFAR10.test_list),
    key="labels",
    classes=CLASSES_10,
)
ARCHIVE_100 = Archive(
    name="CIFAR100",
    folder="cifar-100-python",
    train=dict(torchvision.datasets.CIFAR100.train_list),
    test=dict(torchvision.datasets.CIFAR100.test_list),
    key="fine_labels",
    classes=CLASSES_100,
)

MILD = Augment(crop=4, flip=True)
STRONG = Augment(crop=4, flip=True, autoaugment=True, cutout=16)


@settings
class _CIFAR(Dataset):
    """Images in memory as bytes; the defaults are AT-JEM's.

    root: the folder of the unpacked archive. download: fetch the archive if it is missing.
    validation: number of training images held out, stratified by class; split_seed: of that choice.
    labelled, real, outliers: the augmentation of each branch. check: whether the files must be the originals.
    """

    archive: ClassVar[Archive]

    root: str = "data"
    download: bool = False
    validation: int = 5000
    split_seed: Seed = 0
    labelled: Augment = STRONG
    real: Augment = MILD
    outliers: Augment = MILD
    check: bool = later(default=True)

    def __post_init__(self) -> None:
        if self.validation < 0:
            raise ValueError(f"validation must be 0 or more, not {self.validation}")

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, as in the archive."""
        return self.archive.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Colour images, 32 x 32."""
        return 3, 32, 32

    def ready(self) -> None:
        """Fetch the archive if download is set; UserError if it is missing or not the original."""
        self.archive.ready(self.root, self.download, "data")
        if self.check:
            self.archive.check(self.root, "data")

    def view(self, split: Split, branch: Branch) -> Items:
        """A split in memory, augmented for the branch."""
        images, labels = self._part(split)
        return _Bytes(images, labels, self._rows(split), self._augment(branch))

    def labels(self, split: Split) -> Tensor:
        """The labels of a split."""
        return self._part(split)[1][self._rows(split)]

    def prepare(self, image: Image.Image, branch: Branch, seed: int) -> Tensor:
        """Resize an external picture to cover 32 x 32, centre-crop it, and augment it for the branch."""
        picture = pil_to_tensor(ImageOps.fit(image.convert("RGB"), (32, 32)))
        return self._augment(branch)(picture, seed)

    def _augment(self, branch: Branch) -> Augment:
        bare = {"plain": Augment(), "reference": Augment()}
        return {**bare, "labelled": self.labelled, "real": self.real, "outliers": self.outliers}[branch]

    def _part(self, split: Split) -> tuple[Tensor, Tensor]:
        self.archive.ready(self.root, self.download, "data")
        return self.archive.read(self.root, "test" if split == "test" else "train")

    def _rows(self, split: Split) -> Tensor:
        """The rows of a split in its part of the archive."""
        if split == "test":
            return torch.arange(len(self._part(split)[1]))
        return self._split_rows[0 if split == "train" else 1]

    @cached_property
    def _split_rows(self) -> tuple[Tensor, Tensor]:
        return held_out(self._part("train")[1], self.validation, self.split_seed)


class CIFAR10(_CIFAR):
    """Ten classes of animals and vehicles (Krizhevsky 2009)."""

    archive = ARCHIVE_10


class CIFAR100(_CIFAR):
    """A hundred classes of animals, plants, people, objects and places (Krizhevsky 2009)."""

    archive = ARCHIVE_100


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
