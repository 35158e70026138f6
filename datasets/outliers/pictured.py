"""Outliers that are pictures of others, prepared by the dataset that they are outliers of."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Key, Outliers
from harness.core.random import derive


class Pictured(Outliers):
    """Pictures to train against, and others to start from; seed: of the starts' augmentation."""

    data: Dataset
    seed: int

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Training outliers, augmented as the dataset augments outliers."""
        return torch.stack([self.data.prepare(self.training_picture(index), "outliers", seed) for index, seed in keys])

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Sampling starts in order, each with its own augmentation; after the last, again from the first."""
        chosen = [(index % self.different_starts, derive(self.seed, "start", index)) for index in indices]
        return torch.stack([self.data.prepare(self.start_picture(place), branch, seed) for place, seed in chosen])

    @property
    @abstractmethod
    def different_starts(self) -> int:
        """The number of pictures to start from."""

    @abstractmethod
    def training_picture(self, place: int) -> Image.Image:
        """A picture to train against, by its place from 0 to len(self) − 1."""

    @abstractmethod
    def start_picture(self, place: int) -> Image.Image:
        """A picture to start from, by its place from 0 to different_starts − 1."""
