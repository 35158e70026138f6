"""CIFAR-10 and CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels."""

from typing import ClassVar, Literal

import torchvision.datasets
from torch import Tensor

from harness.core.settings import later, settings
from harness.datasets.augment import Augment
from harness.datasets.cifar_archive import Archive
from harness.datasets.cifar_classes import CLASSES_10, CLASSES_100
from harness.datasets.memory import HeldOut

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
class _CIFAR(HeldOut):
    """Images in memory as bytes; the defaults are AT-JEM's.

    root: the folder of the unpacked archive. download: fetch the archive if it is missing.
    validation: number of training images held out, stratified by class; split_seed: of that choice.
    labelled, real, outliers: the augmentation of each branch. check: whether the files must be the originals.
    """

    archive: ClassVar[Archive]

    root: str = "data"
    download: bool = False
    labelled: Augment = STRONG
    real: Augment = MILD
    outliers: Augment = MILD
    check: bool = later(default=True)

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

    def part(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        """The images and labels of a part of the archive."""
        self.archive.ready(self.root, self.download, "data")
        return self.archive.read(self.root, part)


class CIFAR10(_CIFAR):
    """Ten classes of animals and vehicles (Krizhevsky 2009)."""

    archive = ARCHIVE_10


class CIFAR100(_CIFAR):
    """A hundred classes of animals, plants, people, objects and places (Krizhevsky 2009)."""

    archive = ARCHIVE_100
