"""The published files of common corruptions: CIFAR-10-C and CIFAR-100-C are arrays, ImageNet-C is pictures."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.datasets.pictures import listed, open_rgb
from harness.evaluation.corrupt import SEVERITIES, Corruption

Published = Literal["CIFAR-10-C", "CIFAR-100-C", "ImageNet-C"]

PAGES: dict[Published, str] = {
    "CIFAR-10-C": "https://zenodo.org/records/2535967",
    "CIFAR-100-C": "https://zenodo.org/records/3555552",
    "ImageNet-C": "https://zenodo.org/records/2235448",
}
"""Where each set is published."""

ALEXNET: dict[Corruption, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""The authors' error rates of AlexNet on ImageNet-C, averaged over severities: the reference of the mCE."""


@dataclass(frozen=True)
class CorruptedFiles(ABC):
    """A folder of a dataset's corrupted test images, in the order of its test split."""

    folder: Path

    @abstractmethod
    def expected(self, corruption: Corruption) -> list[Path]:
        """The files or folders that hold a corruption."""

    @abstractmethod
    def check(self, data: Dataset, corruption: Corruption) -> None:
        """UserError if a corruption's files are damaged, or are not those of the data's test split."""

    @abstractmethod
    def load(self, data: Dataset, corruption: Corruption, severity: int, rows: Sequence[int]) -> Tensor:
        """The images of some rows of the test split, N x C x H x W in [0, 1]."""

    def warnings(self, data: Dataset, corruption: Corruption) -> list[str]:
        """Reasons to doubt numbers of these files with this dataset."""
        return []


class Arrays(CorruptedFiles):
    """CIFAR's: corruption.npy, 5 N x 32 x 32 x 3 in uint8, mildest first, and their labels in labels.npy."""

    def expected(self, corruption: Corruption) -> list[Path]:
        """An array, and the labels."""
        return [self.folder / f"{corruption}.npy", self.folder / "labels.npy"]

    def check(self, data: Dataset, corruption: Corruption) -> None:
        """Compare the array's shape, and the labels of all severities."""
        file, labels = self.expected(corruption)
        pixels, (channels, height, width) = _array(file), data.shape
        shape = (len(SEVERITIES) * data.length("test"), height, width, channels)
        if pixels.dtype != np.uint8 or pixels.shape != shape:
            expected, found = (" x ".join(map(str, sides)) for sides in (shape, pixels.shape))
            raise UserError(f"{file} holds {pixels.dtype} of {found}, not bytes of {expected}: fetch it again.")
        _require_labels(data, labels, _array(labels), len(SEVERITIES))

    def load(self, data: Dataset, corruption: Corruption, severity: int, rows: Sequence[int]) -> Tensor:
        """Some rows of one severity."""
        first = (severity - 1) * data.length("test")
        pixels = _array(self.expected(corruption)[0])[[first + row for row in rows]]
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


class Pictures(CorruptedFiles):
    """ImageNet's: corruption/severity/wnid/*.JPEG of 224 x 224 pixels, resized if the data have another size."""

    def expected(self, corruption: Corruption) -> list[Path]:
        """A folder for each severity."""
        return [self.folder / corruption / str(severity) for severity in SEVERITIES]

    def check(self, data: Dataset, corruption: Corruption) -> None:
        """Compare the classes of all pictures."""
        for folder in self.expected(corruption):
            _require_labels(data, folder, _pictures(folder)[1])

    def load(self, data: Dataset, corruption: Corruption, severity: int, rows: Sequence[int]) -> Tensor:
        """Some rows of one severity."""
        paths, _ = _pictures(self.expected(corruption)[severity - 1])
        return torch.stack([to_tensor(_resized(open_rgb(paths[row]), data)) for row in rows])

    def warnings(self, data: Dataset, corruption: Corruption) -> list[str]:
        """Whether the pictures are resized."""
        picture = open_rgb(_pictures(self.expected(corruption)[0])[0][0])
        if _resized(picture, data) is picture:
            return []
        return [f"pictures of {picture.height} x {picture.width} pixels were resized to those of the data"]


def corrupted_files(name: Published, root: str) -> CorruptedFiles:
    """The files of a published set, in the folder that has its name."""
    return (Pictures if name == "ImageNet-C" else Arrays)(Path(root, name).absolute())


def _require_labels(data: Dataset, path: Path, labels: np.ndarray, times: int = 1) -> None:
    """UserError unless labels are those of the test split, in its order and so many times."""
    if not np.array_equal(labels, np.tile(data.labels("test").numpy(), times)):
        raise UserError(
            f"{path} does not have the labels of the test split: its images are those of other data, or some are "
            "missing. Unpack them again, or choose the files of your data."
        )


def _resized(picture: Image.Image, data: Dataset) -> Image.Image:
    """The picture itself if it has the size of the data's images."""
    _, height, width = data.shape
    return picture if picture.size == (width, height) else picture.resize((width, height), Image.Resampling.BICUBIC)


def _array(path: Path) -> np.ndarray:
    """An array on disk; nothing in it is executed, and only what is used is read."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as an array ({error}). Remove it and fetch it again.") from None


@lru_cache(maxsize=80)
def _pictures(folder: Path) -> tuple[list[Path], np.ndarray]:
    """The pictures of all classes, sorted by class and name, and their labels; listed once per process."""
    classes = sorted(listed(folder)[0])
    names = [sorted(listed(folder / wnid)[1]) for wnid in classes]
    paths = [folder / wnid / name for wnid, of_class in zip(classes, names, strict=True) for name in of_class]
    return paths, np.repeat(np.arange(len(classes)), [len(of_class) for of_class in names])
