"""Augmentations: functions of an image and a seed, so that no state needs saving."""

from functools import cache
from typing import Literal

from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandomResizedCrop
from torchvision.transforms import functional as F

from harness.core.random import derive, seed_global
from harness.core.settings import settings


@settings
class Augment:
    """Augmentations of an image that already has its final size, in this order: crop, flip, AutoAugment, cutout.

    crop: padding on each side before a crop to the original size; 0 for none. fill: the padding is black (zero) or
    mirrored (reflect). autoaugment: the policy learned on CIFAR-10 (Cubuk et al. 2019); uncovered pixels become black.
    cutout: side of a black square with a random centre, clipped at the border (DeVries & Taylor 2017); 0 for none.
    """

    crop: int = 0
    fill: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    autoaugment: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        if min(self.crop, self.cutout) < 0:
            raise ValueError("crop and cutout must be 0 or more")

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """Augment an image, C x H x W: uint8 → float in [0, 1]."""
        if self.crop:
            image = self._crop(image, derive(seed, "crop"))
        if self.flip and derive(seed, "flip") % 2:
            image = image.flip(-1)
        if self.autoaugment:
            with seed_global(derive(seed, "autoaugment")):
                image = F.pil_to_tensor(_policy()(F.to_pil_image(image)))
        image = image.float() / 255
        return self._cut_out(image, derive(seed, "cutout")) if self.cutout else image

    def _crop(self, image: Tensor, number: int) -> Tensor:
        height, width = image.shape[-2:]
        mode = "constant" if self.fill == "zero" else "reflect"
        padded = F.pad(image, [self.crop], padding_mode=mode)
        top, left = divmod(number % (2 * self.crop + 1) ** 2, 2 * self.crop + 1)
        return padded[:, top : top + height, left : left + width]

    def _cut_out(self, image: Tensor, number: int) -> Tensor:
        height, width = image.shape[-2:]
        row, column = divmod(number % (height * width), width)
        top, left = row - self.cutout // 2, column - self.cutout // 2
        image[:, max(top, 0) : top + self.cutout, max(left, 0) : left + self.cutout] = 0
        return image


@settings
class Frame:
    """The conversion of a photograph of any size to a square.

    crop: a random part (at least 8 % of the area, Szegedy et al. 2015), or the centre. Both use bilinear interpolation.
    """

    crop: Literal["random", "centre"] = "centre"
    flip: bool = False

    def __call__(self, photograph: Image.Image, size: int, seed: int) -> Tensor:
        """Convert an RGB picture to 3 x size x size, float in [0, 1]."""
        if self.crop == "random":
            with seed_global(derive(seed, "crop")):
                picture: Image.Image = RandomResizedCrop(size)(photograph)
        else:
            picture = centre(photograph, size, size, F.InterpolationMode.BILINEAR)
        if self.flip and derive(seed, "flip") % 2:
            picture = ImageOps.mirror(picture)
        return F.to_tensor(picture)


def centre(photograph: Image.Image, short: int, size: int, how: F.InterpolationMode) -> Image.Image:
    """Resize a photograph to this short side, then crop the central square."""
    return F.center_crop(F.resize(photograph, [short], how), [size])  # pyright: ignore[reportArgumentType,reportReturnType] - accepts PIL too


@cache
def _policy() -> AutoAugment:
    return AutoAugment(AutoAugmentPolicy.CIFAR10, fill=[0.0, 0.0, 0.0])
