"""Random images in place of a dataset or outliers whose files are missing: the net takes as long for them."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from harness.core.dataset import BatchView, Branch, Dataset, Items, Key, Outliers, Split
from harness.core.errors import UserError
from harness.core.settings import settings

IMAGES = 1024
"""Number of random images."""

CLASSES = 1000
"""Number of classes of a dataset that knows its classes only from its files, as ImageNet does."""


@settings
class RandomImages(Dataset):
    """Uniform noise of shape `size`, in `count` classes; lengths: of each split, IMAGES by default."""

    size: tuple[int, int, int]
    count: int
    lengths: Mapping[Split, int] | None = None

    @property
    def classes(self) -> Sequence[str]:
        """The numbers of the classes, as text."""
        return [str(number) for number in range(self.count)]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The requested shape."""
        return self.size

    def view(self, split: Split, branch: Branch) -> Items:
        """Return the same images for every split and branch; longer splits repeat them."""
        return _Repeated(_noise(self.size), self.labels(split))

    def labels(self, split: Split) -> Tensor:
        """Return labels that cycle through the classes."""
        return torch.arange(self.length(split)) % self.count

    def length(self, split: Split) -> int:
        """The given length of a split."""
        return self.lengths[split] if self.lengths else IMAGES


class _Repeated(BatchView):
    """Images that repeat where there are more labels."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        indices = torch.tensor([index for index, _ in keys])
        return self.images[indices % len(self.images)], self.labels[indices]


@settings
class RandomOutliers(Outliers):
    """Uniform noise of the shape of the data."""

    data: Dataset

    def __len__(self) -> int:
        return IMAGES

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Return the images with these indices."""
        return _noise(self.data.shape)[[index for index, _ in keys]]

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Return the images with these indices, modulo IMAGES."""
        return self.images([(index % IMAGES, 0) for index in indices])


def stand_in_data(data: Dataset) -> Dataset:
    """Return the dataset itself if its files are here, else random images of its shape."""
    try:
        data.ready()
        return data
    except UserError:
        return RandomImages(data.shape, count_classes(data))


def stand_in_outliers(outliers: Outliers, data: Dataset) -> Outliers:
    """Return the outliers themselves if their files and those of the data are here, else random images."""
    try:
        outliers.ready()
        return outliers if not isinstance(data, RandomImages) else RandomOutliers(data)
    except UserError:
        return RandomOutliers(data)


def count_classes(data: Dataset) -> int:
    """Return the number of a dataset's classes; CLASSES if only its files know them, and they are missing."""
    try:
        return len(data.classes)
    except UserError:
        return CLASSES


@lru_cache(1)  # at 256 pixels it takes seconds, and 0.8 GB
def _noise(shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
