"""Datasets of IDX files, as MNIST is: 60,000 training and 10,000 test images of 28x28 grey pixels in ten classes."""

import gzip
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torchvision.datasets
from torch import Tensor

from harness.core.dataset import Split
from harness.core.errors import UserError
from harness.core.files import locked_file
from harness.core.settings import later, settings
from harness.datasets.augment import Augment
from harness.datasets.memory import HeldOut
from harness.datasets.originals import require_originals

COUNTS = {"train": 60_000, "test": 10_000}
"""The number of images in each part."""

SIDE = 28
"""The height and width of an image, in pixels."""

PREFIX = {"train": "train", "test": "t10k"}
"""How the names of a part's files begin."""

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
"""How they go on, without the .gz that may follow."""


@dataclass(frozen=True)
class Files:
    """The four files of one dataset, as torchvision downloads them into <name>/raw, or in a folder of their own.

    name: its class in torchvision. page: where the files are published. checksums: the md5 of each of torchvision's
    files. same: those of files of the same content, by name: not compressed, or compressed by others.
    package: the Debian package of the files, and the folder that it puts them into.
    """

    name: str
    page: str
    classes: tuple[str, ...]
    checksums: dict[str, str]
    same: dict[str, tuple[str, ...]] = field(default_factory=dict)
    package: tuple[str, str] | None = None

    def ready(self, root: str, download: bool, group: Literal["data", "outliers"]) -> None:
        """Fetch the files if download is set and some are missing; UserError if they are missing after that."""
        if not self._folder(root) and download:
            self._fetch(root)
        if not self._folder(root):
            package = ""
            if self.package:
                name, folder = self.package
                package = f"apt-get install {name} puts them into {folder}, which {group}.root={folder} reads. "
            raise UserError(
                f"{self.name} is expected at {self._places(root)[0]}, or in the folder that {group}.root sets, as four "
                f"files such as train-{IMAGES}.gz, and they are not there. {package}Add {group}.download=true to fetch "
                f"them, or put those of {self.page} into {Path(root).absolute()}."
            )

    def check(self, root: str, group: Literal["data", "outliers"]) -> None:
        """UserError if a file is not the original."""
        remedy = f"Remove it, and fetch it again with {group}.download=true."
        known = {name: (md5, *self.same.get(name, ())) for name, md5 in self.checksums.items()}
        require_originals(self.name, {file: known[file.stem + ".gz"] for file in self._files(root)}, remedy)

    def read(self, root: str, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        """All images of a part, N x 1 x 28 x 28, uint8, and their labels, int64; read once per process."""
        images, labels = (file for file in self._files(root) if file.name.startswith(PREFIX[part]))
        return _read(images, labels, len(self.classes))

    def _places(self, root: str) -> list[Path]:
        """The folders that are looked into, in this order; Debian's only if no other root was given."""
        places = [Path(root).absolute() / self.name / "raw", Path(root).absolute()]
        return [*places, Path(self.package[1])] if self.package and root == "data" else places

    def _folder(self, root: str) -> Path | None:
        """The first folder with all files; None if there is none."""
        return next((place for place in self._places(root) if all(_files(place))), None)

    def _files(self, root: str) -> list[Path]:
        folder = self._folder(root)
        return [file for file in _files(folder) if file] if folder else []

    def _fetch(self, root: str) -> None:
        with locked_file(Path(root) / self.name):  # concurrent runs fetch them once
            try:
                getattr(torchvision.datasets, self.name)(root, download=not self._folder(root))
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"{self.name} could not be fetched ({error}). Fetch the four files by hand from {self.page} and "
                    f"put them into {Path(root).absolute()}."
                ) from None


@settings
class IDX(HeldOut):
    """A dataset of IDX files, in memory as bytes.

    root: the folder of the files, or of <name>/raw with them. download: fetch them if they are missing.
    validation: number of training images held out, stratified by class; split_seed: of that choice.
    labelled, real, outliers: the augmentation of each branch. check: whether the files must be the originals.
    """

    files: ClassVar[Files]

    root: str = "data"
    download: bool = False
    labelled: Augment = Augment(crop=2)
    outliers: Augment = Augment(crop=2)
    check: bool = later(default=True)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, known without the files."""
        return self.files.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grey images, 28 x 28."""
        return 1, SIDE, SIDE

    def ready(self) -> None:
        """Fetch the files if download is set; UserError if they are missing or not the originals."""
        self.files.ready(self.root, self.download, "data")
        if self.check:
            self.files.check(self.root, "data")

    def length(self, split: Split) -> int:
        """The number of images in a split, known without the files, unless they may be others than the originals."""
        if not self.check:
            return len(self.labels(split))
        held_out = {"validation": self.validation, "test": COUNTS["test"]}
        return held_out.get(split, COUNTS["train"] - self.validation)

    def part(self, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        """The images and labels of a part."""
        self.files.ready(self.root, self.download, "data")
        return self.files.read(self.root, part)


def _files(folder: Path) -> list[Path | None]:
    """The four files in a folder, gzipped or not, images before labels; None for each that is missing."""
    names = [f"{prefix}-{kind}" for prefix in PREFIX.values() for kind in (IMAGES, LABELS)]
    ways = ([folder / f"{name}.gz", folder / name] for name in names)
    return [next((file for file in files if file.is_file()), None) for files in ways]


@lru_cache(maxsize=8)
def _read(images: Path, labels: Path, classes: int) -> tuple[Tensor, Tensor]:
    """The images and labels of two files; UserError if they are damaged or do not fit together."""
    pixels, numbers = _decode(images, 3), _decode(labels, 1).long()
    if pixels.shape[1:] != (SIDE, SIDE) or len(pixels) != len(numbers):
        raise UserError(
            f"{images} holds {' x '.join(map(str, pixels.shape))} pixels and {labels.name} {len(numbers)} labels, "
            f"where N x {SIDE} x {SIDE} and N are expected. Remove both and fetch them again."
        )
    if not 0 <= numbers.min() <= numbers.max() < classes:
        raise UserError(
            f"The labels in {labels} are {numbers.min()} to {numbers.max()}, where 0 to {classes - 1} are expected. "
            "Remove the file and fetch it again."
        )
    return pixels[:, None], numbers


def _decode(file: Path, dimensions: int) -> Tensor:
    """The bytes of an IDX file: two zero bytes, 8 for bytes, the number of dimensions, each as 4 bytes, the values."""
    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({error}). Remove it and fetch it again.") from None
    start = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:start], ">u4").astype(int).tolist() if len(content) > start else [0]
    if content[:4] != bytes([0, 0, 8, dimensions]) or prod(shape) != len(content) - start:
        raise UserError(
            f"{file} is no whole IDX file of bytes in {dimensions} dimensions. Remove it and fetch it again."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
