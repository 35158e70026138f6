"""ImageNet (ILSVRC 2012) at any size: 1.28 million training and 50,000 test photographs of 1,000 classes."""

import re
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
from harness.core.settings import Seed, later, settings
from harness.datasets.augment import Frame, centre
from harness.datasets.copies import groups_of_copies
from harness.datasets.originals import ACCEPT
from harness.datasets.pictures import listed, open_rgb
from harness.datasets.split import held_out

COUNTS = {"classes": 1_000, "train": 1_281_167, "val": 50_000}
"""Number of classes, of training images, and of images in val, which has the same number of each class."""

LOOKED_INTO = 10
"""Number of classes, evenly spaced, whose files are searched for copies."""

COPIES = 0.02
"""Largest share of copies among the files of a class; a few are in the original too."""


@settings
class ImageNet(Dataset):
    """Photographs in folders, one per class, read on demand; the defaults are AT-JEM's.

    root: contains train/<wnid>/*.JPEG and val/<wnid>/*.JPEG; val is the test split. size: side of the square images.
    validation: number of training images held out, stratified by class; split_seed: of that choice.
    labelled, real, outliers: how each branch crops and flips a photograph.
    check: whether the folders must hold what ILSVRC 2012 does.
    """

    root: str = "data/imagenet"
    size: int = 256
    validation: int = 10_000
    split_seed: Seed = 0
    on_bad_image: OnBadImage = "fail"
    labelled: Frame = Frame("random", flip=True)
    real: Frame = Frame("centre", flip=True)
    outliers: Frame = Frame("random", flip=True)
    check: bool = later(default=True)

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096 or self.validation < 0:
            raise ValueError("size must be between 1 and 4,096, and validation 0 or more")

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names: all WordNet synonyms of a WordNet id (wnid) that timm knows, else the folder's name."""
        return _readable_names(_class_folders(self._root / "train"))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Colour images, square."""
        return 3, self.size, self.size

    def ready(self) -> None:
        """Raise UserError if a split or class has no images, the splits' classes differ, or it is not the original."""
        train, test = self._listing("train"), self._listing("test")
        if self.check:
            _require_original(train.folder, test.folder)

    def view(self, split: Split, branch: Branch) -> Items:
        """The files of a split, prepared for a branch."""
        return _Photographs(self, self._listing(split), self._rows(split), branch)

    def labels(self, split: Split) -> Tensor:
        """The labels of a split, from its folders."""
        return self._listing(split).labels[self._rows(split)]

    def prepare(self, image: Image.Image, branch: Branch, seed: int) -> Tensor:
        """Prepare a photograph for a branch; plain is the test transform, bicubic at 256/224 of the size.

        plain shows 77 % of the central square; the reference, like real, all of it.
        """
        photograph = image.convert("RGB")
        if branch == "plain":
            short = int(256 / 224 * self.size)
            return to_tensor(centre(photograph, short, self.size, InterpolationMode.BICUBIC))
        frames = {"labelled": self.labelled, "real": self.real, "outliers": self.outliers, "reference": Frame("centre")}
        return frames[branch](photograph, self.size, seed)

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

    def of_class(self, label: int) -> list[Path]:
        """The paths of a class's files."""
        return [self.path(int(row)) for row in (self.labels == label).nonzero()]


def _class_folders(folder: Path) -> tuple[str, ...]:
    """The class folders of a part, sorted; UserError if there are none."""
    class_names = tuple(sorted(listed(folder)[0])) if folder.is_dir() else ()
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
    names = [sorted(listed(folder / name)[1]) for name in classes]
    counts = torch.tensor([len(of_class) for of_class in names])
    if not counts.all():
        empty = folder / classes[int(counts.argmin())]
        raise UserError(f"{empty} holds no images. Unpack the images of its class into it, or remove the folder.")
    labels = torch.arange(len(classes)).repeat_interleave(counts)
    return _Listing(folder, classes, np.array([name for of_class in names for name in of_class]), labels)


@lru_cache(maxsize=4)
def _require_original(train: Path, val: Path) -> None:
    """Raise UserError unless both folders hold as many files and classes as the original, and hardly any copies.

    There are no checksums of single files, so names, counts and copies are all that is checked; once per process.
    """
    listed, held_out = _list(train), _list(val)
    found = {"classes": len(listed.classes), "train": len(listed.names), "val": len(held_out.names)}
    remedy = f"Unpack ILSVRC2012 again. {ACCEPT}"
    for name, count in COUNTS.items():
        if found[name] != count:
            what = "folders of classes" if name == "classes" else f"images in {name}"
            raise UserError(f"{train.parent} is not ILSVRC 2012: {found[name]:,} {what}, not {count:,}. {remedy}")
    # Folders are named by WordNet ids, whose order is that of the labels, and val has as many images of each class.
    for name in listed.classes:
        if not re.fullmatch(r"n\d{8}", name):
            raise UserError(f"{train / name} is not the folder of a class of ILSVRC 2012, such as n01440764. {remedy}")
    classes = COUNTS["classes"]
    counts, each = held_out.labels.bincount(), COUNTS["val"] // classes
    odd = int((counts - each).abs().argmax())
    if counts[odd] != each:
        raise UserError(
            f"{val / held_out.classes[odd]} holds {counts[odd]} images, not {each}: the images of val are not sorted "
            f"into their classes. {remedy}"
        )
    # Files of one class are seldom copies of one another, and those of train are none of val.
    for label in range(0, classes, max(1, classes // LOOKED_INTO)):
        files = [*listed.of_class(label), *held_out.of_class(label)]
        groups = groups_of_copies(files, lambda group: len(group) > 1)
        copies = [(copy, original) for original, *others in groups for copy in others]
        if len(copies) > COPIES * len(files):
            raise UserError(
                f"{len(copies)} of the {len(files)} images of {listed.classes[label]} in {train} and {val.name} are "
                f"copies of others, such as {copies[0][0]} of {copies[0][1]}. {remedy}"
            )


@lru_cache(maxsize=4)
def _readable_names(names: tuple[str, ...]) -> tuple[str, ...]:
    from timm.data.imagenet_info import ImageNetInfo  # imported here because timm takes seconds to import

    known: dict[str, str] = ImageNetInfo().label_descriptions(as_dict=True)  # pyright: ignore[reportAssignmentType]
    return tuple(known.get(name, name) for name in names)
