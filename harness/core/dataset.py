"""The interfaces of a dataset and of a source of outliers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset as View

from harness.core.errors import UserError
from harness.core.extra import Extra
from harness.core.random import derive
from harness.core.settings import LATER

Split = Literal["train", "validation", "test"]
Branch = Literal["plain", "labelled", "real", "outliers", "reference"]
"""How images are framed and augmented: as a classifier is tested, strongly (for cross-entropy), mildly (as real images
for the energy), as the outliers that contrastive walks start from, or as the real images that samples are compared
with: framed like `real`, not augmented."""

OnBadImage = Literal["fail", "skip"]
"""What training does with an image that cannot be read: stop and name it, or use the next one and count it."""

SEEN = 10_000
"""Number of images whose mean and standard deviation are taken, evenly spaced in a larger split."""

Key = tuple[int, int]
"""(index of the item, seed of its augmentation): an item depends on nothing else."""

Items = View[tuple[Tensor, Tensor]]
"""Key → (image, label). With `__getitems__`, a list of keys → (images, labels)."""


class BadImage(UserError):
    """An image file that cannot be read; training may skip it, evaluation never does."""

    def __init__(self, path: Path, reason: Exception) -> None:
        super().__init__(path, reason)  # both, so that the error can be unpickled when it comes from a worker process
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} cannot be read as an image ({type(self.reason).__name__}: {self.reason}): replace the file"


@dataclass(frozen=True, eq=False)
class Extended:
    """The field that all datasets have.

    extra: images from elsewhere that are mixed into the labelled stream of training; None for none.
    """

    extra: Extra | None = field(default=None, kw_only=True, metadata={LATER: True})


class Dataset(Extended, ABC):
    """Labelled images in fixed splits; float [0, 1], NCHW.

    A subclass is a frozen dataclass whose fields are those of configs/data/<name>.yaml under `data`. `root`, if
    it has one, is the folder of its files, and `download` fetches them; neither is part of a run's identity.
    `check`: whether files of published datasets, also those of outliers, must be the originals.
    """

    on_bad_image: OnBadImage = "fail"
    check: bool = True

    @property
    @abstractmethod
    def classes(self) -> Sequence[str]:
        """The names of the classes, in the order of their labels."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""

    @property
    def notes(self) -> dict[str, str]:
        """What a reader of the numbers must know of the files, by topic; footnotes of the leaderboard."""
        note = "they were neither compared with the published originals nor searched for copies (data.check=false)"
        return {} if self.check else {"files": note}

    def ready(self) -> None:
        """Raise UserError if files are missing or not the originals, saying where they belong and how to get them."""
        return

    @abstractmethod
    def view(self, split: Split, branch: Branch) -> Items:
        """One split as items addressed by `Key`, augmented for one branch."""

    @abstractmethod
    def labels(self, split: Split) -> Tensor:
        """The labels of a split, N, int64, in the order of its indices."""

    def length(self, split: Split) -> int:
        """The number of images in a split."""
        return len(self.labels(split))

    def standardisation(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, in the training images or SEEN of them, evenly spaced.

        For `model.mean=auto`, which becomes these numbers when a config is composed. They are rounded to four decimals,
        so that the order of a sum does not change them.
        """
        view, n = self.view("train", "plain"), self.length("train")
        indices = [place * n // min(n, SEEN) for place in range(min(n, SEEN))]
        # Sums of a few images at a time: ten thousand large ones do not fit into memory.
        moments = torch.zeros(2, self.shape[0], dtype=torch.double)
        for first in range(0, len(indices), 100):
            images = gather(view, [(index, 0) for index in indices[first : first + 100]])[0].double()
            moments += torch.stack([images.mean((2, 3)).sum(0), images.square().mean((2, 3)).sum(0)])
        mean, square = moments / len(indices)
        std = (square - mean.square()).clamp(min=0).sqrt()
        return [round(value, 4) for value in mean.tolist()], [round(value, 4) for value in std.tolist()]

    def pinned(self, name: str) -> dict[str, Any]:
        """Fields, for a config of this name, that tie it to the content of files that are no published ones; or none.

        They are set when a config with a field `digest` is composed, so that other files give another run.
        """
        return {}

    def prepare(self, image: Image.Image, branch: Branch, seed: int) -> Tensor:
        """Convert an image from elsewhere to this dataset's shape, augmented for a branch by the seed alone.

        By default it is resized to cover, centre-cropped, and not augmented.
        """
        from torchvision.transforms.functional import to_tensor  # slow to import, and a plan does not need it

        channels, height, width = self.shape
        picture = ImageOps.fit(image.convert("L" if channels == 1 else "RGB"), (width, height))
        return to_tensor(picture)

    def tensors(self, split: Split) -> tuple[Tensor, Tensor]:
        """All images of a split without augmentation, and their labels; for splits that fit in memory."""
        view = self.view(split, "plain")
        return gather(view, [(index, 0) for index in range(self.length(split))])


class Outliers(ABC):
    """Images from outside the data: starting points of walks and samplers, and the contrast to real images.

    A subclass is a dataclass whose fields are those of configs/outliers/<name>.yaml under `outliers`; it receives
    the dataset as `data`.
    """

    data: Dataset
    on_bad_image: OnBadImage = "fail"

    def ready(self) -> None:
        """Raise UserError if the files are missing, saying where they are expected and how to get them."""
        return

    def require_apart(self) -> None:
        """Raise UserError if a start has the content of an image to train against; unchecked by default."""
        return

    @abstractmethod
    def __len__(self) -> int:
        """The number of images to train against."""

    @abstractmethod
    def images(self, keys: Sequence[Key]) -> Tensor:
        """Training outliers, N x C x H x W; the seed in each key determines the augmentation, if any."""

    @property
    def different_starts(self) -> int | None:
        """Number of starts before they begin again from the first; None if they never do."""
        return None

    @abstractmethod
    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Starting images of samples: fixed, in order, disjoint from the training outliers; augmented for a branch."""


def gather(view: Items, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
    """Load the items of some keys as one batch."""
    fetch = getattr(view, "__getitems__", None)
    if fetch is not None:
        return fetch(list(keys))
    images, labels = zip(*(view[key] for key in keys), strict=True)
    return torch.stack(images), torch.stack(labels)


class BatchView(View[tuple[Tensor, Tensor]]):
    """Items that are read in batches, by `__getitems__`; one item is a batch of one."""

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        images, labels = self.__getitems__([key])
        return images[0], labels[0]

    @abstractmethod
    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        """Images, N x C x H x W, and labels, N, of some keys."""


class OutlierView(BatchView):
    """Outliers as items labelled −1, so that they load like any other images."""

    def __init__(self, outliers: Outliers) -> None:
        self.outliers = outliers

    def __len__(self) -> int:
        return len(self.outliers)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        return self.outliers.images(keys), torch.full((len(keys),), -1)


class ExtendedView(View[tuple[Tensor, Tensor]]):
    """The items of a dataset's labelled view, then its extra images, framed and augmented by `prepare` as they are."""

    def __init__(self, data: Dataset, extra: Extra) -> None:
        self.data, self.view, self.length = data, data.view("train", "labelled"), data.length("train")
        self.images, self.labels = extra.read(data.shape, len(data.classes))

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        index, seed = key
        if index < self.length:
            images, labels = gather(self.view, [key])
            return images[0], labels[0]
        row = index - self.length
        return self.data.prepare(Image.fromarray(self.images[row]), "labelled", seed), self.labels[row]


class TensorView(BatchView):
    """Images in memory as items, with an optional random shift by up to `pad` pixels; uncovered pixels are black."""

    def __init__(self, images: Tensor, labels: Tensor, pad: int = 0) -> None:
        self.images, self.labels, self.pad = images, labels, pad

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        indices = torch.tensor([index for index, _ in keys])
        images = self.images[indices]
        if self.pad:
            images = self._shift(images, [seed for _, seed in keys])
        return images, self.labels[indices]

    def _shift(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Random crops of the padded images, each determined by its own seed."""
        side, places = images.shape[-1], 2 * self.pad + 1
        windows = self._pad(images).unfold(2, side, 1).unfold(3, side, 1)
        corners = torch.tensor([divmod(derive(seed, "shift") % places**2, places) for seed in seeds])
        return windows[torch.arange(len(images)), :, corners[:, 0], corners[:, 1]]

    def _pad(self, images: Tensor) -> Tensor:
        return torch.nn.functional.pad(images, [self.pad] * 4)
