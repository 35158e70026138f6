"""Labelled images from elsewhere, as of a generator, which take a fixed share of each labelled batch."""

import zipfile
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Lt
from torch import Tensor

from harness.core.errors import UserError, first_line
from harness.core.files import sha256_once
from harness.core.settings import settings

BROKEN = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile and NumPy raise where a file is no .npz, or a damaged one."""

LARGEST = 32 * 2**30
"""The most bytes of pixels in memory: of CIFAR's size, eleven million images."""


@settings
class Extra:
    """Images of a file that are mixed into the labelled stream.

    root: an .npz with `image`, N x H x W x 3 in uint8, and `label`, N. ratio: their share of each batch; the rest are
    images of the training split. digest: of the file that a run was begun with; None for any.
    """

    root: str
    ratio: Annotated[float, Gt(0), Lt(1)]
    digest: str | None = None

    @property
    def content(self) -> str | None:
        """The digest of the file; None if there is none."""
        return sha256_once(self._file)[:16] if self._file.is_file() else None

    @property
    def notes(self) -> dict[str, str]:
        """What a reader of the numbers must know of the images; a footnote of the leaderboard."""
        name = f"{self._file.name} (sha256 {self.digest or self.content}…)"
        return {"extra images": f"{self.ratio:.0%} of each labelled batch are images of {name}"}

    def share(self, batch: int) -> int:
        """The number of images in a batch; UserError if there is none."""
        if not (count := round(self.ratio * batch)):
            raise UserError(f"data.extra.ratio={self.ratio:g} of a batch of {batch} is no image: choose a larger one.")
        return count

    def ready(self, shape: tuple[int, int, int]) -> None:
        """Raise UserError if the file is missing, has changed, or does not fit data of this shape.

        Only the headers of its arrays are read.
        """
        # The file must be here, and the one that the run was begun with.
        if self.content is None:
            raise UserError(f"data.extra.root={self.root}: there is no such file ({self._file}). Put the images there.")
        if self.digest not in (None, self.content):
            raise UserError(
                f"{self._file} has changed since this run was begun: restore it, or begin a new run by its command."
            )
        # Its arrays must have the layout of the published files, the size of the data, and fit into memory.
        try:
            with zipfile.ZipFile(self._file) as file:
                (images, pixels), (labels, number) = (_header(file, name) for name in ("image", "label"))
        except BROKEN as error:
            raise UserError(
                f"{self._file}: an .npz with `image` and `label` is needed ({first_line(error)})."
            ) from None
        if pixels != np.uint8 or len(images) != 4 or images[1:] != (*shape[1:], 3) or not images[0]:
            raise UserError(
                f"{self._file}: image should be N x {shape[1]} x {shape[2]} x 3 in uint8, but is {pixels} of {images}."
            )
        if number.kind not in "iu" or labels != images[:1]:
            raise UserError(f"{self._file}: label should be {images[0]} whole numbers, but is {number} of {labels}.")
        if (size := int(np.prod(images, dtype=object))) > LARGEST:
            raise UserError(
                f"The images of {self._file} take {size / 2**30:.1f} GiB of memory, where {LARGEST // 2**30} GiB is "
                "the most: take a part of them."
            )

    def read(self, shape: tuple[int, int, int], classes: int) -> tuple[np.ndarray, Tensor]:
        """The images, N x H x W x 3 in uint8, and their labels, N, int64; UserError if they do not fit the data."""
        self.ready(shape)
        try:
            with np.load(self._file, allow_pickle=False) as file:
                images, labels = file["image"], file["label"].astype(np.int64)
        except BROKEN as error:
            raise UserError(f"{self._file} cannot be read ({first_line(error)}).") from None
        if not ((labels >= 0) & (labels < classes)).all():
            raise UserError(f"{self._file}: label must hold a class of 0 … {classes - 1} for each image.")
        return images, torch.from_numpy(labels)

    @property
    def _file(self) -> Path:
        return Path(self.root).absolute()


def _header(file: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and type of an array, whose numbers are not read."""
    with file.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(stream)
    return shape, kind
