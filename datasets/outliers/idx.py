"""A dataset of IDX files as outliers of another."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from harness.core.dataset import Branch, Dataset, Key, Outliers
from harness.core.random import derive
from harness.core.settings import settings
from harness.datasets.idx import Files


@settings
class IDX(Outliers):
    """Training images for training, test images as sampling starts; augmented as the dataset augments outliers.

    root: the folder of the files, or of <name>/raw with them. download: fetch them if they are missing.
    seed: of the starts' augmentation.
    """

    files: ClassVar[Files]

    data: Dataset
    root: str = "data"
    download: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if getattr(self.data, "files", None) == self.files:
            raise ValueError(f"{self.files.name} is the data itself; choose other outliers")

    def ready(self) -> None:
        """Fetch the files if download is set; UserError if they are missing or not the originals."""
        self.files.ready(self.root, self.download, "outliers")
        if self.data.check:
            self.files.check(self.root, "outliers")

    def __len__(self) -> int:
        return len(self._images("train"))

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Training images."""
        training = self._images("train")
        return torch.stack([self._prepare(training[index], seed) for index, seed in keys])

    @property
    def different_starts(self) -> int:
        """The test images."""
        return len(self._images("test"))

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """Test images in order, each with its own augmentation; after the last, start again from the first."""
        test = self._images("test")
        chosen = [(test[index % len(test)], derive(self.seed, "start", index)) for index in indices]
        return torch.stack([self._prepare(image, seed, branch) for image, seed in chosen])

    def _images(self, part: Literal["train", "test"]) -> Tensor:
        self.files.ready(self.root, self.download, "outliers")
        return self.files.read(self.root, part)[0]

    def _prepare(self, image: Tensor, seed: int, branch: Branch = "outliers") -> Tensor:
        return self.data.prepare(to_pil_image(image), branch, seed)
