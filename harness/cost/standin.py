"""Random images in the place of a dataset or of outliers whose files are not here: the net takes as long for them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Items, Key, Outliers, Split, TensorView
from harness.core.errors import UserError
from harness.core.settings import settings

IMAGES = 1024
"""So many there are."""

CLASSES = 1000
"""Of a dataset that knows its classes by its files alone, as ImageNet does."""


@settings
class RandomImages(Dataset):
    """Uniform noise of a shape, in `count` classes."""

    size: tuple[int, int, int]
    count: int

    @property
    def classes(self) -> Sequence[str]:
        """Numbers."""
        return [str(number) for number in range(self.count)]

    @property
    def shape(self) -> tuple[int, int, int]:
        """As it was asked for."""
        return self.size

    def view(self, split: Split, branch: Branch) -> Items:
        """The same images for every split and branch."""
        return TensorView(_noise(self.size), self.labels(split))

    def labels(self, split: Split) -> Tensor:
        """The classes in turn."""
        return torch.arange(IMAGES) % self.count


@settings
class RandomOutliers(Outliers):
    """Uniform noise of the shape of the data."""

    data: Dataset

    def __len__(self) -> int:
        return IMAGES

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Some of them."""
        return _noise(self.data.shape)[[index for index, _ in keys]]

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """The same, by number."""
        return self.images([(index % IMAGES, 0) for index in indices])


def stand_in_data(data: Dataset) -> Dataset:
    """The dataset itself if its files are here, else random images in its shape."""
    try:
        data.ready()
        return data
    except UserError:
        return RandomImages(data.shape, _classes(data))


def stand_in_outliers(outliers: Outliers, data: Dataset) -> Outliers:
    """The outliers themselves if their files are here and so are those of the data, else random images."""
    try:
        outliers.ready()
        return outliers if not isinstance(data, RandomImages) else RandomOutliers(data)
    except UserError:
        return RandomOutliers(data)


def _classes(data: Dataset) -> int:
    try:
        return len(data.classes)
    except UserError:
        return CLASSES


def _noise(shape: tuple[int, int, int]) -> Tensor:
    return torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
