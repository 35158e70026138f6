"""The images of an outside generator, as the starts of method=samples, which takes no step."""

import hashlib
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Key, Outliers
from harness.core.errors import UserError, first_line
from harness.core.settings import settings
from harness.datasets.pictures import images_below, listed, open_rgb


@settings
class Given(Outliers):
    """The images of a source in their order, or, with labels, one of each class in turn; none to train against.

    source: an .npz in the layout of guided diffusion's evaluator (arr_0: N x H x W x C in uint8; arr_1: labels, N, if
    there are any), a folder of pictures, or a folder with one folder of pictures for each class, named as the data name
    it. digest: what the images and labels must have; None for any.
    """

    data: Dataset
    source: str | None = None
    digest: str | None = None

    def __len__(self) -> int:
        return 0

    def images(self, keys: Sequence[Key]) -> Tensor:
        """None: nothing is trained."""
        raise NotImplementedError("nothing is trained against given samples")

    @property
    def different_starts(self) -> int:
        """The number of images; with labels, of those that can be taken from each class in turn."""
        labels, classes = self._read[1], len(self.data.classes)
        if labels is None:
            return len(self._read[0])
        counts = np.bincount(labels, minlength=classes)
        first = int(counts.argmin())  # the class that runs out first
        return int(counts[first]) * classes + first

    def ready(self) -> None:
        """Raise UserError if the images cannot be read, do not fit the data, or have changed since the run began."""
        if self.digest not in (None, self.content):
            raise UserError(
                f"The images in {self.source} have changed since this run was begun: put the old ones back, or begin a "
                "new run by its command."
            )

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Images by their numbers; image i is of class i mod K where there are labels."""
        places = self._places[list(indices)]
        return torch.from_numpy(self._read[0][places]).permute(0, 3, 1, 2) / 255

    @cached_property
    def content(self) -> str:
        """The digest of the images and labels."""
        images, labels = self._read
        digest = hashlib.sha256(f"{images.shape} {labels is not None} ".encode() + images.tobytes())
        digest.update(b"" if labels is None else labels.tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def _places(self) -> np.ndarray:
        """The row of each image in the order of samples."""
        images, labels = self._read
        if labels is None:
            return np.arange(len(images))
        rows = [np.flatnonzero(labels == label) for label in range(len(self.data.classes))]
        return np.array([rows[i % len(rows)][i // len(rows)] for i in range(self.different_starts)])

    @cached_property
    def _read(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The images, N x H x W x C in uint8, and the labels, N, or None; UserError if they do not fit the data."""
        if self.source is None:
            raise UserError("method=samples judges images: say where they are, method.source=PATH.")
        source = Path(self.source)
        if source.is_dir():
            images, labels = _read_folder(source, [str(name) for name in self.data.classes])
        elif source.is_file():
            images, labels = _read_file(source)
        else:
            raise UserError(f"There is no file or folder {source}: say where the samples are.")
        # Pictures, and files of that layout, hold grey images in three equal channels.
        channels, height, width = self.data.shape
        if channels == 1 and images.ndim == 4 and images.shape[3] == 3 and (images == images[..., :1]).all():
            images = images[..., :1]
        # Compare them with the data.
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (height, width, channels):
            raise UserError(
                f"{source} holds images of shape {images.shape} in {images.dtype}, where N x {height} x {width} x "
                f"{channels} in uint8 (0 … 255) are needed: convert them, or choose other data."
            )
        classes = len(self.data.classes)
        if labels is not None and not (len(labels) == len(images) and ((labels >= 0) & (labels < classes)).all()):
            raise UserError(f"{source}: arr_1 must hold a label of 0 … {classes - 1} for each image.")
        return images, labels


def _read_file(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """arr_0, and arr_1 if there is one; UserError if that does not hold whole numbers."""
    try:
        with np.load(path, allow_pickle=False) as file:
            labels = file["arr_1"] if "arr_1" in file.files else None
            if labels is not None and not (labels.ndim == 1 and (labels == labels.astype(np.int64)).all()):
                raise ValueError(f"arr_1 should be labels, N, but is {labels.dtype} of {labels.shape}")
            return file["arr_0"], None if labels is None else labels.astype(np.int64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} does not hold samples: an .npz with images as arr_0 is needed ({first_line(error)})."
        ) from None


def _read_folder(folder: Path, classes: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """The pictures of a folder in RGB, by their names; with their labels, if it has a folder for each class."""
    inside = sorted(listed(folder)[0])
    if unknown := [name for name in inside if name not in classes]:
        raise UserError(
            f"{folder} has a folder {unknown[0]}, which is no class of the data: {', '.join(classes[:10])}."
        )
    paths = [Path(path) for path in sorted(images_below(folder))]
    if not paths:
        raise UserError(f"{folder} holds no pictures.")
    images = [np.asarray(open_rgb(folder / path)) for path in paths]
    if len({image.shape for image in images}) > 1:
        raise UserError(f"{folder} holds pictures of several sizes: make them equal.")
    if not inside:
        return np.stack(images), None
    if loose := [path for path in paths if len(path.parts) == 1]:
        raise UserError(f"{folder} has class folders and beside them {loose[0]}: move it into one of them.")
    return np.stack(images), np.array([classes.index(path.parts[0]) for path in paths])
