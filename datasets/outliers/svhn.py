"""Street View House Numbers, cropped to 32x32 (Netzer et al. 2011), as outliers."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torchvision.datasets
from PIL import Image
from scipy.io import loadmat

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.files import locked_file
from harness.core.settings import settings
from harness.datasets.originals import require_originals
from harness.datasets.outliers.pictured import Pictured

PAGE = "http://ufldl.stanford.edu/housenumbers"
FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
CHECKSUMS = {part: torchvision.datasets.SVHN.split_list[part][2] for part in FILES}
"""The md5 of each part's file."""


@settings
class SVHN(Pictured):
    """Training images for training, test images as sampling starts.

    root: the folder of train_32x32.mat and test_32x32.mat. download: fetch them if they are missing.
    seed: of the starts' augmentation.
    """

    data: Dataset
    root: str = "data"
    download: bool = False
    seed: int = 0

    def ready(self) -> None:
        """Fetch the files if download is set; UserError if they are missing or not the originals."""
        self._present()
        if self.data.check:
            checksums = {self._root / FILES[part]: (md5,) for part, md5 in CHECKSUMS.items()}
            require_originals("SVHN", checksums, "Remove it, and fetch it again with outliers.download=true.")

    def _present(self) -> None:
        if self._missing and self.download:
            self._fetch()
        if self._missing:
            raise UserError(
                f"SVHN is expected at {self._root}, and {self._missing[0]} is not there. Add outliers.download=true to "
                f"fetch it, or put {' and '.join(FILES.values())} from {PAGE} into that folder, which outliers.root "
                "sets."
            )

    def __len__(self) -> int:
        return self._pixels("train").shape[-1]

    @property
    def different_starts(self) -> int:
        """The test images."""
        return self._pixels("test").shape[-1]

    def training_picture(self, place: int) -> Image.Image:
        """A training image."""
        return Image.fromarray(np.ascontiguousarray(self._pixels("train")[..., place]))

    def start_picture(self, place: int) -> Image.Image:
        """A test image."""
        return Image.fromarray(np.ascontiguousarray(self._pixels("test")[..., place]))

    @property
    def _root(self) -> Path:
        return Path(self.root).absolute()

    @property
    def _missing(self) -> list[str]:
        return [name for name in FILES.values() if not (self._root / name).is_file()]

    def _fetch(self) -> None:
        with locked_file(self._root / "svhn"):  # concurrent runs fetch them once
            try:
                for part, name in FILES.items():
                    if name in self._missing:
                        torchvision.datasets.SVHN(self._root, part, download=True)
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"SVHN could not be fetched ({error}). Put {' and '.join(FILES.values())} from {PAGE} into "
                    f"{self._root} by hand."
                ) from None

    def _pixels(self, part: Literal["train", "test"]) -> np.ndarray:
        """All images of a part, 32 x 32 x 3 x N, uint8."""
        self._present()
        return _read(self._root / FILES[part])


@lru_cache(maxsize=2)
def _read(file: Path) -> np.ndarray:
    try:
        pixels = loadmat(file, variable_names=["X"])["X"]
    except Exception as error:  # loadmat raises many kinds of exception on a damaged file
        raise UserError(f"{file} cannot be read as SVHN ({error!r}). Remove it and fetch it again.") from None
    if pixels.shape[:3] != (32, 32, 3) or pixels.dtype != np.uint8:
        raise UserError(f"{file} holds {pixels.dtype} of {pixels.shape}, not bytes of 32 x 32 x 3 x N: fetch it again.")
    return pixels
