"""The CIFAR archives on disk: expected files, download, and safe reading of untrusted pickles."""

import pickle
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torchvision.datasets
from torch import Tensor

from harness.core.errors import UserError
from harness.core.files import locked_file
from harness.datasets.originals import require_originals

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class Archive:
    """One of the two archives (Krizhevsky 2009), "python version", unpacked.

    name: its class in torchvision, which downloads it. train, test: its files, each with its md5.
    key: the key of the labels in a batch file.
    """

    name: Literal["CIFAR10", "CIFAR100"]
    folder: str
    train: dict[str, str]
    test: dict[str, str]
    key: str
    classes: tuple[str, ...]

    def ready(self, root: str, download: bool, group: Literal["data", "outliers"]) -> None:
        """Fetch the files if download is set and some are missing; UserError if they are missing after that."""
        if self._missing(root) and download:
            self._fetch(root)
        if missing := self._missing(root):
            raise UserError(
                f"{self.name} is expected at {missing[0].parent.absolute()}, and {missing[0].name} is not there. "
                f"Add {group}.download=true to fetch it, or unpack the python version from {PAGE} into "
                f"{Path(root).absolute()}, which {group}.root sets."
            )

    def check(self, root: str, group: Literal["data", "outliers"]) -> None:
        """UserError if a file is not the original."""
        folder = Path(root).absolute() / self.folder
        checksums = {folder / file: (md5,) for file, md5 in (self.train | self.test).items()}
        require_originals(self.name, checksums, f"Remove {folder}, and fetch it again with {group}.download=true.")

    def read(self, root: str, part: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
        """All images of a part, N x 3 x 32 x 32, uint8, and their labels, int64; read once per process."""
        files = self.train if part == "train" else self.test
        return _read(tuple(Path(root).absolute() / self.folder / file for file in files), self.key, len(self.classes))

    def _missing(self, root: str) -> list[Path]:
        files = [Path(root) / self.folder / file for file in (*self.train, *self.test)]
        return [file for file in files if not file.is_file()]

    def _fetch(self, root: str) -> None:
        with locked_file(Path(root) / self.folder):  # concurrent runs fetch it once
            try:
                getattr(torchvision.datasets, self.name)(root, download=bool(self._missing(root)))
            except (OSError, RuntimeError) as error:
                raise UserError(
                    f"{self.name} could not be fetched ({error}). Fetch the python version by hand from {PAGE} and "
                    f"unpack it into {Path(root).absolute()}."
                ) from None


@lru_cache(maxsize=4)
def _read(files: tuple[Path, ...], key: str, classes: int) -> tuple[Tensor, Tensor]:
    batches = [_unpickle(file) for file in files]
    try:
        pixels = np.concatenate([batch["data"] for batch in batches])
        labels = torch.tensor([label for batch in batches for label in batch[key]])
        images = torch.from_numpy(pixels).reshape(len(labels), 3, 32, 32)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{files[0].parent} holds no CIFAR batches ({error!r}). Remove it and fetch it again."
        ) from None
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UserError(
            f"The labels in {', '.join(file.name for file in files)} of {files[0].parent} are {labels.min()} to "
            f"{labels.max()}, where 0 to {classes - 1} are expected. Remove the folder and fetch it again."
        )
    return images, labels


def _unpickle(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            return _Arrays(stream, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}). Remove its folder and fetch the archive again.") from None


class _Arrays(pickle.Unpickler):
    """Unpickles arrays, lists and dictionaries, all that the archives contain; executes nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in pickle
        if (module.partition(".")[0], name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


_HARMLESS = {("numpy", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}
