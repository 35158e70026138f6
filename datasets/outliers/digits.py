"""scikit-learn's handwritten digits, enlarged, as outliers of other data."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from harness.core.dataset import Branch, Dataset, Key, Outliers
from harness.core.random import derive
from harness.core.settings import settings
from harness.datasets import digits


@settings
class Digits(Outliers):
    """All digits but the last `reserve` for training, these as sampling starts; seed: of the starts' augmentation."""

    data: Dataset
    reserve: int = 600
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.data, digits.Digits):
            raise ValueError("digits are the data themselves; choose other outliers")
        if not 1 <= self.reserve < digits.IMAGES:
            raise ValueError(f"reserve must be between 1 and {digits.IMAGES - 1:,}, not {self.reserve}")

    def __len__(self) -> int:
        return digits.IMAGES - self.reserve

    def images(self, keys: Sequence[Key]) -> Tensor:
        """Digits, enlarged to the data's shape."""
        return torch.stack([self._prepare(index, seed) for index, seed in keys])

    @property
    def different_starts(self) -> int:
        """The reserved digits."""
        return self.reserve

    def starts(self, indices: Sequence[int], branch: Branch = "outliers") -> Tensor:
        """The reserved digits in order, each with its own augmentation; after the last, again from the first."""
        chosen = [(len(self) + index % self.reserve, derive(self.seed, "start", index)) for index in indices]
        return torch.stack([self._prepare(place, seed, branch) for place, seed in chosen])

    @cached_property
    def _pixels(self) -> Tensor:
        from sklearn.datasets import load_digits  # slow to import, and a plan does not need it

        flat, _ = load_digits(return_X_y=True)
        return torch.from_numpy(flat).float().view(-1, 1, digits.SIDE, digits.SIDE) / 16

    def _prepare(self, place: int, seed: int, branch: Branch = "outliers") -> Tensor:
        return self.data.prepare(to_pil_image(self._pixels[place]), branch, seed)
