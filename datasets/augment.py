"""Augmentations: functions of an image and a seed, so that no state needs saving."""

import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, RandomResizedCrop
from torchvision.transforms import functional as F

from harness.core.random import derive, seed_global
from harness.core.settings import later, settings


@settings
class Augment:
    """Augmentations of an image that already has its final size, in this order: crop, flip, AutoAugment, cutout.

    crop: padding on each side before a crop to the original size; 0 for none. fill: the padding is black (zero) or
    mirrored (reflect). autoaugment: the policy learned on CIFAR-10 (Cubuk et al. 2019); uncovered pixels become black.
    cutout: side of a black square with a random centre, clipped at the border (DeVries & Taylor 2017); 0 for none.
    policy: how AutoAugment's operations are computed: as torchvision does, or as the code of RATIO and DAT does.
    """

    crop: int = 0
    fill: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    autoaugment: bool = False
    cutout: int = 0
    policy: Literal["torchvision", "ratio"] = later(default="torchvision")

    def __post_init__(self) -> None:
        if not (0 <= self.crop <= 4096 and 0 <= self.cutout <= 4096):
            raise ValueError("crop and cutout must be between 0 and 4,096 pixels")

    def __call__(self, image: Tensor, seed: int) -> Tensor:
        """Augment an image, C x H x W: uint8 → float in [0, 1]."""
        if self.crop:
            image = self._crop(image, derive(seed, "crop"))
        if self.flip and derive(seed, "flip") % 2:
            image = image.flip(-1)
        if self.autoaugment:
            image = F.pil_to_tensor(self._autoaugment(F.to_pil_image(image), derive(seed, "autoaugment")))
        image = image.float() / 255
        return self._cut_out(image, derive(seed, "cutout")) if self.cutout else image

    def _autoaugment(self, picture: Image.Image, number: int) -> Image.Image:
        if self.policy == "ratio":
            return autoaugment_of_ratio(picture, number)
        with seed_global(number):
            return _policy()(picture)

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


def autoaugment_of_ratio(picture: Image.Image, seed: int) -> Image.Image:
    """AutoAugment's policy for CIFAR-10 as computed by the code of RATIO (Augustin et al. 2020), which DAT uses.

    It differs from torchvision's in this: rotations go one way only and uncover grey; shears interpolate; translations
    are not rounded to whole pixels; solarize's threshold begins at 256.
    """
    draw = random.Random(seed)
    for name, probability, level in draw.choice(_policy().policies):
        if draw.random() < probability:
            sign = draw.choice((-1, 1))
            picture = OPERATIONS[name](picture, (level or 0) / 9, sign)
    return picture


def _rotate(picture: Image.Image, level: float, _: int) -> Image.Image:
    """Rotate counter-clockwise by up to 30 degrees; uncovered pixels become grey."""
    return picture.rotate(30 * level, fillcolor=(128, 128, 128))


def _move(picture: Image.Image, *matrix: float, how: Image.Resampling = Image.Resampling.NEAREST) -> Image.Image:
    """Take each pixel (x, y) from (a x + b y + c, d x + e y + f); uncovered pixels become black."""
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, how, fillcolor=(0, 0, 0))


BICUBIC = Image.Resampling.BICUBIC
OPERATIONS: Mapping[str, Callable[[Image.Image, float, int], Image.Image]] = {
    "ShearX": lambda picture, level, sign: _move(picture, 1, sign * 0.3 * level, 0, 0, 1, 0, how=BICUBIC),
    "ShearY": lambda picture, level, sign: _move(picture, 1, 0, 0, sign * 0.3 * level, 1, 0, how=BICUBIC),
    "TranslateX": lambda picture, level, sign: _move(picture, 1, 0, sign * 150 / 331 * level * picture.width, 0, 1, 0),
    "TranslateY": lambda picture, level, sign: _move(picture, 1, 0, 0, 0, 1, sign * 150 / 331 * level * picture.height),
    "Rotate": _rotate,
    "Color": lambda picture, level, sign: ImageEnhance.Color(picture).enhance(1 + sign * 0.9 * level),
    "Contrast": lambda picture, level, sign: ImageEnhance.Contrast(picture).enhance(1 + sign * 0.9 * level),
    "Sharpness": lambda picture, level, sign: ImageEnhance.Sharpness(picture).enhance(1 + sign * 0.9 * level),
    "Brightness": lambda picture, level, sign: ImageEnhance.Brightness(picture).enhance(1 + sign * 0.9 * level),
    "Posterize": lambda picture, level, _: ImageOps.posterize(picture, round(8 - 4 * level)),
    "Solarize": lambda picture, level, _: ImageOps.solarize(picture, 256 - 256 * level),  # pyright: ignore[reportArgumentType] - it takes floats
    "AutoContrast": lambda picture, *_: ImageOps.autocontrast(picture),
    "Equalize": lambda picture, *_: ImageOps.equalize(picture),
    "Invert": lambda picture, *_: ImageOps.invert(picture),
}
"""AutoAugment's operations on an RGB picture, its level in [0, 1] and a sign."""
