"""80 Million Tiny Images, from its original binary file (Torralba et al. 2008; withdrawn in 2020)."""

from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.settings import settings
from harness.datasets.outliers.pictured import Pictured

SIDE = 32
BYTES = 3 * SIDE * SIDE


@settings
class TinyImages(Pictured):
    """The images that are on no exclusion list: the last `reserve` are sampling starts, the others training outliers.

    root: the folder of tiny_images.bin. seed: of the starts' augmentation.
    exclude: files in root that list excluded image numbers, as text or .npy, counted from 0;
    exclude_from_one: such files whose numbers count from 1.
    """

    data: Dataset
    root: str
    exclude: tuple[str, ...] = ()
    exclude_from_one: tuple[str, ...] = ()
    reserve: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.reserve < 1:
            raise ValueError(f"reserve must be 1 or more, not {self.reserve}")

    def ready(self) -> None:
        """Raise UserError if the file or a list is missing, or if they do not fit together."""
        if len(self) < 1:
            raise UserError(
                f"{self._file} has {self._count:,} images that no list excludes, and outliers.reserve={self.reserve} "
                "of them are for the starts: set outliers.reserve to fewer, for at least one must remain."
            )

    def __len__(self) -> int:
        return self._count - self.reserve

    @property
    def different_starts(self) -> int:
        """The reserved images."""
        return self.reserve

    def training_picture(self, place: int) -> Image.Image:
        """An image that no list excludes."""
        return Image.fromarray(decode(self._pixels[allowed(place, self._excluded_numbers)]))

    def start_picture(self, place: int) -> Image.Image:
        """A reserved image."""
        return self.training_picture(len(self) + place)

    @property
    def _file(self) -> Path:
        return Path(self.root).absolute() / "tiny_images.bin"

    @cached_property
    def _pixels(self) -> np.ndarray:
        """All images, N x 3072 bytes, memory-mapped."""
        if not self._file.is_file():
            raise UserError(
                f"80 Million Tiny Images is expected at {self._file}. It was withdrawn in 2020: without a copy of it, "
                "choose other outliers, such as outliers=cifar100."
            )
        if (size := self._file.stat().st_size) % BYTES or not size:
            raise UserError(f"{self._file} has {size:,} bytes, which is not a number of images of {BYTES} bytes each.")
        return np.memmap(self._file, np.uint8, "r").reshape(-1, BYTES)

    @property
    def _count(self) -> int:
        """The number of images that no list excludes."""
        return len(self._pixels) - len(self._excluded_numbers)

    @cached_property
    def _excluded_numbers(self) -> np.ndarray:
        """The distinct numbers of all excluded images, ascending."""
        lists = [self._read_list(name, first=0) for name in self.exclude]
        lists += [self._read_list(name, first=1) for name in self.exclude_from_one]
        return np.unique(np.concatenate([np.empty(0, np.int64), *lists]))

    def _read_list(self, name: str, first: int) -> np.ndarray:
        path = Path(self.root).absolute() / name
        try:
            numbers = np.load(path) if path.suffix == ".npy" else np.loadtxt(path, np.int64, ndmin=1)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}, a list of excluded images, cannot be read ({error}).") from None
        numbers = numbers.astype(np.int64).ravel() - first
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self._pixels):
            raise UserError(f"{path} lists images that {self._file.name} does not have. Is its first image {first}?")
        return numbers


def allowed(index: int, excluded: np.ndarray) -> int:
    """The number of the index-th image that is not in `excluded`, which must be ascending without duplicates."""
    before = excluded - np.arange(len(excluded))  # number of allowed images before each excluded one
    return index + int(np.searchsorted(before, index, side="right"))


def decode(pixels: np.ndarray) -> np.ndarray:
    """Decode 3072 bytes (the red, green and blue planes, each column by column) to height x width x 3."""
    return np.ascontiguousarray(pixels.reshape(3, SIDE, SIDE).transpose(2, 1, 0))
