"""scikit-learn's handwritten digits, enlarged, as outliers of other data."""

from functools import cached_property

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from harness.core.dataset import Dataset
from harness.core.settings import settings
from harness.datasets import digits
from harness.datasets.outliers.pictured import Pictured


@settings
class Digits(Pictured):
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

    @property
    def different_starts(self) -> int:
        """The reserved digits."""
        return self.reserve

    def training_picture(self, place: int) -> Image.Image:
        """A digit of 8 x 8 pixels, which the dataset enlarges."""
        return to_pil_image(self._pixels[place])

    def start_picture(self, place: int) -> Image.Image:
        """A reserved digit."""
        return self.training_picture(len(self) + place)

    @cached_property
    def _pixels(self) -> Tensor:
        from sklearn.datasets import load_digits  # slow to import, and a plan does not need it

        flat, _ = load_digits(return_X_y=True)
        return torch.from_numpy(flat).float().view(-1, 1, digits.SIDE, digits.SIDE) / 16
