"""One CIFAR dataset as outliers of the other."""

from functools import cached_property
from typing import ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from harness.core.dataset import Dataset
from harness.core.errors import near
from harness.core.settings import settings
from harness.datasets.cifar import ARCHIVE_10, ARCHIVE_100
from harness.datasets.cifar_archive import Archive
from harness.datasets.outliers.pictured import Pictured


@settings
class _CIFAR(Pictured):
    """Training images for training, test images as sampling starts; augmented as the dataset augments outliers.

    root: the folder of the unpacked archive. download: fetch the archive if it is missing.
    exclude: classes not to train against, because the data show them. seed: of the starts' augmentation.
    """

    archive: ClassVar[Archive]

    data: Dataset
    root: str = "data"
    download: bool = False
    exclude: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if getattr(self.data, "archive", None) == self.archive:
            raise ValueError(f"{self.archive.name} is the data itself; choose other outliers")
        for name in self.exclude:
            if name not in self.archive.classes:
                raise ValueError(
                    f"exclude: {self.archive.name} has no class '{name}'. {near(name, self.archive.classes)}"
                )

    def ready(self) -> None:
        """Fetch the archive if download is set; UserError if it is missing or not the original."""
        self.archive.ready(self.root, self.download, "outliers")
        if self.data.check:
            self.archive.check(self.root, "outliers")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def different_starts(self) -> int:
        """The test images."""
        return len(self._part("test")[0])

    def training_picture(self, place: int) -> Image.Image:
        """A training image of the classes that are not excluded."""
        return to_pil_image(self._part("train")[0][self._rows[place]])

    def start_picture(self, place: int) -> Image.Image:
        """A test image."""
        return to_pil_image(self._part("test")[0][place])

    @cached_property
    def _rows(self) -> Tensor:
        """The rows of the training part whose classes are not excluded."""
        excluded = torch.tensor([self.archive.classes.index(name) for name in self.exclude], dtype=torch.long)
        return torch.isin(self._part("train")[1], excluded, invert=True).nonzero().flatten()

    def _part(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        self.archive.ready(self.root, self.download, "outliers")
        return self.archive.read(self.root, part)


class CIFAR10(_CIFAR):
    """Ten classes of animals and vehicles, as outliers of CIFAR-100, which shares no class with them."""

    archive = ARCHIVE_10


@settings
class CIFAR100(_CIFAR):
    """A hundred classes, as outliers of CIFAR-10, without those that look like its automobiles and trucks."""

    archive = ARCHIVE_100

    exclude: tuple[str, ...] = ("pickup_truck", "bus", "streetcar", "tractor")
