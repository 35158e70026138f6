"""Pictures of your own: a folder with a folder of image files for each class, read into memory."""

import hashlib
import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Lt
from PIL import Image, ImageOps
from torch import Tensor

from harness.core.dataset import Split
from harness.core.errors import UserError
from harness.core.settings import Seed, settings
from harness.datasets.augment import Augment
from harness.datasets.memory import InMemory
from harness.datasets.pictures import images_below, listed, open_rgb
from harness.datasets.split import held_out

Share = Annotated[float, Ge(0), Lt(1)]
"""A share of images."""

LARGEST = 2 * 2**30
"""The most bytes of pixels in memory."""

PARTS: dict[str, Split] = {"train": "train", "test": "test", "val": "validation"}
"""The split of a folder of this name, where the class folders are in several."""


@settings
class Folder(InMemory):
    """Class folders of pictures, in memory as bytes; their names are those of the classes.

    root: contains <class>/…, which is split by seed; or train/<class>/… and test/<class>/…, val/<class>/…, or both.
    Where there is no test, val is the test split. side: of the squares that pictures are resized and cropped to; None
    if all have one size. Images are grey if all pictures are. validation, test: the share that is held out of the
    others, stratified by class, one of each at least, for a split without a folder; split_seed: of that choice.
    labelled, real, outliers: the augmentation of each branch. digest: of the files that a run was begun with.
    """

    root: str = "data/folder"
    side: Annotated[int, Ge(1)] | None = None
    validation: Share = 0.1
    test: Share = 0.2
    split_seed: Seed = 0
    labelled: Augment = Augment(crop=2)
    outliers: Augment = Augment(crop=2)
    digest: str | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the class folders, sorted."""
        return self._pictures.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, 1 or 3, height and width of the pictures."""
        channels, height, width = self._pictures.images.shape[1:]
        return channels, height, width

    @property
    def notes(self) -> dict[str, str]:
        """Which pictures these are."""
        return {"pictures": f"a folder of one's own, whose files have the digest {self._pictures.digest}"}

    def ready(self) -> None:
        """Raise UserError if the pictures are missing, do not fit together, or are others than the run began with."""
        _ = self._splits

    def loaded(self, split: Split) -> tuple[Tensor, Tensor, Tensor]:
        """All pictures and labels, and the rows of a split."""
        return self._pictures.images, self._pictures.labels, self._splits[split]

    def pinned(self, name: str) -> dict[str, str]:
        """The digest of the files; and, unless the data have another name, one that no other folder has."""
        digest = self._pictures.digest
        return {"digest": digest} | ({"name": f"folder{int(digest, 16) % 100_000}"} if name == "folder" else {})

    @cached_property
    def _pictures(self) -> "_Pictures":
        root = Path(self.root).absolute()
        pictures = _read(root, self.side)
        if self.digest not in (None, pictures.digest):
            raise UserError(
                f"The pictures in {root} have changed since this run was begun: put the old ones back, or begin a new "
                "run by its command."
            )
        return pictures

    @cached_property
    def _splits(self) -> dict[Split, Tensor]:
        """The rows of each split; those without a folder are held out of the training images, the test split first."""
        splits, labels = dict(self._pictures.splits), self._pictures.labels
        shares: dict[Split, float] = {"test": self.test, "validation": self.validation}
        for split, share in shares.items():
            if split not in splits:
                rows = splits["train"]
                count = max(round(share * len(rows)), len(self.classes)) if share else 0
                train, held = held_out(labels[rows], count, self.split_seed, f"data.{split}={share}")
                splits["train"], splits[split] = rows[train], rows[held]
        return splits


class _Pictures(NamedTuple):
    """The pictures of a folder, N x C x H x W, uint8, and their labels; the rows of each split that has a folder."""

    classes: tuple[str, ...]
    images: Tensor
    labels: Tensor
    splits: dict[Split, Tensor]
    digest: str


@lru_cache(maxsize=2)
def _read(root: Path, side: int | None) -> _Pictures:
    """Read all pictures of a folder, once per process; UserError if they do not fit together, or into memory."""
    folders = _split_folders(root)
    classes = _classes(folders)
    places = [(split, folder / name, name) for split, folder in folders.items() for name in classes]
    files = [(split, name, file) for split, of_class, name in places for file in _files(of_class)]
    shape = _shape(files[0][2], side)
    if (size := len(files) * 3 * shape[0] * shape[1]) > LARGEST:
        raise UserError(
            f"The {len(files):,} pictures in {root} take {size / 2**30:.1f} GiB of memory at {shape[1]} x {shape[0]} "
            f"pixels, where {LARGEST // 2**30} GiB is the most: make them smaller by data.side."
        )

    # The digest is that of the files, so that it does not depend on how a library decodes or resizes them.
    pixels, digest = np.empty((len(files), 3, *shape), np.uint8), hashlib.sha256()
    for row, (_, _, file) in enumerate(files):
        picture, content = _sized(open_rgb(file), side), file.read_bytes()
        digest.update(os.fsencode(f"{file.relative_to(root).as_posix()} {len(content)} ") + content)
        if picture.size != shape[::-1]:
            raise UserError(
                f"{file} has {picture.width} x {picture.height} pixels, and {files[0][2]} has {shape[1]} x {shape[0]}. "
                "Say data.side=… to resize and crop all to squares of that side."
            )
        pixels[row] = np.asarray(picture).transpose(2, 0, 1)

    # Images are grey if the channels of all are equal.
    images = torch.from_numpy(pixels)
    if (images[:, :1] == images[:, 1:]).all():
        images = images[:, :1].clone()
    labels = torch.tensor([classes.index(name) for _, name, _ in files])
    splits: dict[Split, Tensor] = {}
    for split in folders:
        splits[split] = torch.tensor([row for row, (of, *_) in enumerate(files) if of == split])
    return _Pictures(classes, images, labels, splits, digest.hexdigest()[:16])


def _split_folders(root: Path) -> dict[Split, Path]:
    """The folder of each split that has one; the root itself is that of training images if it holds the classes."""
    found = sorted(listed(root)[0]) if root.is_dir() else []
    # A class may be called train too: it has pictures, and no folders of classes.
    if "train" not in found or not listed(root / "train")[0]:
        return {"train": root}
    if odd := [name for name in found if name not in PARTS]:
        raise UserError(
            f"{root} has train/<class>/… and {odd[0]}, where only test and val may stand beside train: rename "
            f"{odd[0]}, or take it out."
        )
    folders: dict[Split, Path] = {PARTS[name]: root / name for name in found}
    if "test" not in folders and "validation" in folders:
        folders["test"] = folders.pop("validation")
    return folders


def _classes(folders: dict[Split, Path]) -> tuple[str, ...]:
    """The class folders of the training images, sorted, which the other splits must have too."""
    of_each = {folder: sorted(listed(folder)[0]) if folder.is_dir() else [] for folder in folders.values()}
    classes = of_each[folders["train"]]
    if len(classes) < 2:
        raise UserError(
            f"Pictures are expected at {folders['train']}/<class>/…, in two class folders or more, and there are "
            f"{len(classes)}. data.root sets the folder."
        )
    for folder, names in of_each.items():
        if odd := sorted(set(names) ^ set(classes)):
            raise UserError(f"{folder} and {folders['train']} must have the same class folders; only one has {odd[0]}.")
    return tuple(classes)


def _files(folder: Path) -> list[Path]:
    """The sorted image files of a class; UserError if there are none."""
    files = [folder / path for path in sorted(images_below(folder))]
    if not files:
        raise UserError(f"{folder} holds no images. Put those of its class into it, or remove the folder.")
    return files


def _shape(file: Path, side: int | None) -> tuple[int, int]:
    """Height and width of all images, by the first one's."""
    width, height = open_rgb(file).size
    return (side, side) if side else (height, width)


def _sized(picture: Image.Image, side: int | None) -> Image.Image:
    """The picture, or the central square of it, resized to this side."""
    return ImageOps.fit(picture, (side, side)) if side else picture
