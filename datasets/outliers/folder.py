"""Any folder of image files."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import BadImage, Branch, Dataset, Key, OnBadImage, Outliers
from harness.core.errors import UserError
from harness.core.random import derive
from harness.core.settings import settings
from harness.datasets.copies import groups_of_copies
from harness.datasets.originals import ACCEPT
from harness.datasets.outliers.openimages_labels import Labels
from harness.datasets.pictures import images_below, open_rgb

EXAMPLES = 3
"""Number of pairs of copies that a message names."""


@settings
class Folder(Outliers):
    """The image files in a folder and below it; the seed fixes which are sampling starts and which training outliers.

    root: the folder. reserve: number of files for the starts; cap: largest number of training outliers;
    seed: of this choice. A different cap leaves the starts the same, and a smaller choice is part of a larger one.
    exclude: names that an image must not show: names of its folders or, if `labels` is set, of its labels.
    exclude_classes: exclude the names of the data's classes too. Names are compared in lower case, with _ as a space.
    labels: Open Images' label files in root, which identify an image by its file name without extension.
    """

    data: Dataset
    root: str
    cap: int = 300_000
    reserve: int = 50_000
    seed: int = 42
    exclude: tuple[str, ...] = ()
    exclude_classes: bool = True
    labels: Labels | None = None
    on_bad_image: OnBadImage = "fail"

    def __post_init__(self) -> None:
        if self.cap < 1 or self.reserve < 1:
            raise ValueError("cap and reserve must be 1 or more")

    def ready(self) -> None:
        """Raise UserError if the folder is missing or has too few images."""
        _ = self._chosen

    def require_apart(self) -> None:
        """Raise UserError if a start is a training outlier too, under another name; data with check=false accept it."""
        if not self.data.check:
            return
        # Some data have no such field: the digits, and datasets of others.
        accept = f" {ACCEPT}" if "check" in vars(self.data) else ""
        chosen = self._chosen.tolist()
        _require_apart(self._root, tuple(chosen[: self.reserve]), tuple(chosen[self.reserve :]), accept)

    def __len__(self) -> int:
        return len(self._chosen) - self.reserve

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Training outliers, prepared by the dataset."""
        return torch.stack([self._prepare(self.reserve + index, seed) for index, seed in keys])

    @property
    def different_starts(self) -> int:
        """The reserved images."""
        return self.reserve

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """The reserved images in order, each with its own augmentation; after the last, start again from the first."""
        return torch.stack([self._start(index, branch) for index in indices])

    def _start(self, index: int, branch: Branch) -> Tensor:
        """One start; if its file cannot be read, the next readable one replaces it under on_bad_image=skip."""
        for following in range(self.reserve):
            try:
                return self._prepare((index + following) % self.reserve, derive(self.seed, "start", index), branch)
            except BadImage as error:
                if self.on_bad_image == "fail":
                    raise UserError(f"{error}, or go on without it, by outliers.on_bad_image=skip.") from None
        raise UserError(f"Not one of the {self.reserve} images that are reserved for the starts can be read.")

    def _prepare(self, place: int, seed: int, branch: Branch = "outliers") -> Tensor:
        return self.data.prepare(open_rgb(self._root / str(self._chosen[place])), branch, seed)

    @property
    def _root(self) -> Path:
        return Path(self.root).absolute()

    @cached_property
    def _chosen(self) -> np.ndarray:
        """Relative paths in an order fixed by the seed: first the reserved images, then the training outliers."""
        paths = self._filter(_list_images(self._root))
        if len(paths) <= self.reserve:
            raise UserError(
                f"{self._root} has {len(paths):,} images to choose from, and outliers.reserve={self.reserve} of them "
                "are for the starts: set outliers.reserve to fewer, for at least one must remain."
            )
        generator = torch.Generator().manual_seed(derive(self.seed, "choice"))
        order = torch.randperm(len(paths), generator=generator)[: self.reserve + self.cap]
        return np.array([paths[place] for place in order])

    def _filter(self, paths: tuple[str, ...]) -> list[str]:
        """The paths of images that show nothing excluded, according to their folders and labels."""
        names = set(map(_normalise, self.exclude))
        if self.exclude_classes:  # ImageNet's classes have several names each, joined by commas
            names |= {_normalise(name) for whole in self.data.classes for name in (whole, *whole.split(", "))}
        labelled = self.labels.images(self._root, names) if self.labels and names else set()
        return [path for path in paths if not (names & _folders(path) or PurePosixPath(path).stem in labelled)]


def _folders(path: str) -> set[str]:
    return {_normalise(folder) for folder in path.split("/")[:-1]}


def _normalise(name: str) -> str:
    return name.replace("_", " ").lower()


@lru_cache(maxsize=1)
def _require_apart(root: Path, reserved: tuple[str, ...], training: tuple[str, ...], accept: str) -> None:
    """Raise UserError if a reserved image has the content of a training outlier; looked for once per process."""
    starts = [root / path for path in reserved]
    kept = set(starts)
    files = [*starts, *(root / path for path in training)]
    # Only groups of both kinds matter: the starts may be copies of one another, and so may the training outliers.
    groups = groups_of_copies(files, lambda group: not kept.isdisjoint(group) and not kept.issuperset(group))
    if not groups:
        return

    # The starts are the first files of each group, as they come first in all of it.
    copied = sum(len(kept.intersection(group)) for group in groups)
    examples = "\n".join(f"  {group[0]} = {group[-1]}" for group in groups[:EXAMPLES])
    raise UserError(
        f"{copied} of the {len(reserved)} images that outliers.reserve keeps as starting images of samples have copies "
        f"among the training outliers, under other names:\n{examples}\nSamples must not start from images that were "
        f"trained on. Remove all copies from {root} (fdupes -r {root} lists them), or choose other outliers.{accept}"
    )


@lru_cache(maxsize=1)
def _list_images(root: Path) -> tuple[str, ...]:
    """The sorted image files of a folder; listed once per process."""
    if not root.is_dir():
        raise UserError(f"A folder of images is expected at {root}. Set outliers.root, or choose other outliers.")
    return tuple(sorted(images_below(root)))
