"""ImageNet (ILSVRC 2012) at any size: 1.28 million training and 50,000 test photographs of 1,000 classes."""

import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as View
from torchvision.transforms.functional import InterpolationMode, to_tensor

from harness.core.dataset import Branch, Dataset, Items, Key, OnBadImage, Split
from harness.core.errors import UserError
from harness.core.settings import settings
from harness.datasets.augment import Frame, centre
from harness.datasets.pictures import named_as_image, open_rgb
from harness.datasets.split import held_out


@settings
class ImageNet(Dataset):
    """Photographs in folders, one per class, read on demand; the defaults are AT-JEM's.

    root: contains train/<wnid>/*.JPEG and val/<wnid>/*.JPEG; val is the test split. size: side of the square images.
    validation: number of training images held out, stratified by class; split_seed: of that choice.
    labelled, real, outliers: how each branch crops and flips a photograph.
    """

    root: str = "data/imagenet"
    size: int = 256
    validation: int = 10_000
    split_seed: int = 0
    on_bad_image: OnBadImage = "fail"
    labelled: Frame = Frame("random", flip=True)
    real: Frame = Frame("centre", flip=True)
    outliers: Frame = Frame("random", flip=True)

    def __post_init__(self) -> None:
        if self.size < 1 or self.validation < 0:
            raise ValueError("size must be 1 or more, and validation 0 or more")

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names: all WordNet synonyms of a WordNet id (wnid) that timm knows, else the folder's name."""
        return _readable_names(_class_folders(self._root / "train"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Colour images, square."""
        return 3, self.size, self.size

    def ready(self) -> None:
        """Raise UserError if a split or a class has no images, or if the splits have different classes."""
        self._listing("train")
        self._listing("test")

    def view(self, split: Split, branch: Branch) -> Items:
        """The files of a split, prepared for a branch."""
        return _Photographs(self, self._listing(split), self._rows(split), branch)

    def labels(self, split: Split) -> Tensor:
        """The labels of a split, from its folders."""
        return self._listing(split).labels[self._rows(split)]

    def prepare(self, image: Image.Image, branch: Branch, seed: int) -> Tensor:
        """Prepare a photograph for a branch; plain is the test transform, bicubic at 256/224 of the size."""
        photograph = image.convert("RGB")
        if branch == "plain":
            short = int(256 / 224 * self.size)
            return to_tensor(centre(photograph, short, self.size, InterpolationMode.BICUBIC))
        frame = {"labelled": self.labelled, "real": self.real, "outliers": self.outliers}[branch]
        return frame(photograph, self.size, seed)

    @property
    def _root(self) -> Path:
        return Path(self.root).absolute()

    def _listing(self, split: Split) -> "_Listing":
        """The files of val for the test split, of train for the others."""
        train = _list(self._root / "train")
        if split != "test":
            return train
        test = _list(self._root / "val")
        if odd := sorted(set(train.classes) ^ set(test.classes)):
            raise UserError(f"{self._root}: train and val must have the same class folders; only one has {odd[0]}.")
        return test

    def _rows(self, split: Split) -> Tensor:
        """The rows of a split in its listing."""
        if split == "test":
            return torch.arange(len(self._listing(split).labels))
        return self._split_rows[0 if split == "train" else 1]

    @cached_property
    def _split_rows(self) -> tuple[Tensor, Tensor]:
        return held_out(self._listing("train").labels, self.validation, self.split_seed)


class _Photographs(View[tuple[Tensor, Tensor]]):
    """Some rows of a listing, as items."""

    def __init__(self, data: ImageNet, listing: "_Listing", rows: Tensor, branch: Branch) -> None:
        self.data, self.listing, self.rows = data, listing, rows
        self.branch: Branch = branch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        index, seed = key
        row = int(self.rows[index])
        image = open_rgb(self.listing.path(row))
        return self.data.prepare(image, self.branch, seed), self.listing.labels[row]


class _Listing(NamedTuple):
    """The files of a part; names are in one array, as worker processes share its memory but would copy a list."""

    folder: Path
    classes: tuple[str, ...]
    names: np.ndarray
    labels: Tensor

    def path(self, row: int) -> Path:
        """The path of a row's file."""
        return self.folder / self.classes[int(self.labels[row])] / str(self.names[row])


def _class_folders(folder: Path) -> tuple[str, ...]:
    """The class folders of a part, sorted; UserError if there are none."""
    entries = os.scandir(folder) if folder.is_dir() else ()
    class_names = tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))
    if not class_names:
        raise UserError(
            f"ImageNet is expected at {folder}/<class>/*.JPEG, and there are no class folders. Get ILSVRC2012 from "
            "https://image-net.org/download.php, unpack it, sort the images of val into class folders as those of "
            "train are, and set data.root to the folder that holds both."
        )
    return class_names


@lru_cache(maxsize=4)
def _list(folder: Path) -> _Listing:
    """All image files of a part, sorted by class and name; listed once per process."""
    classes = _class_folders(folder)
    names = [sorted(entry.name for entry in os.scandir(folder / c) if named_as_image(entry.name)) for c in classes]
    counts = torch.tensor([len(of_class) for of_class in names])
    if not counts.all():
        empty = folder / classes[int(counts.argmin())]
        raise UserError(f"{empty} holds no images. Unpack the images of its class into it, or remove the folder.")
    labels = torch.arange(len(classes)).repeat_interleave(counts)
    return _Listing(folder, classes, np.array([name for of_class in names for name in of_class]), labels)


@lru_cache(maxsize=4)
def _readable_names(names: tuple[str, ...]) -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo  # imported here because timm takes seconds to import

    known: dict[str, str] = ImageNetInfo().label_descriptions(as_dict=True)  # pyright: ignore[reportAssignmentType]
    return tuple(known.get(name, name) for name in names)
