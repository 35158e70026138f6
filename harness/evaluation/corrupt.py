"""Common corruptions of Hendrycks & Dietterich (2019): those that need neither photographs nor a motion blur.

Left out are glass and motion blur, snow, frost and elastic transforms, which are in the published files only.
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, get_args

import numpy as np
import scipy  # its modules are slow to import, and it loads each on first use
from numpy.random import Generator
from PIL import Image

Corruption = Literal[
    "gaussian_noise", "shot_noise", "impulse_noise",
    "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness",
    "contrast", "elastic_transform", "pixelate", "jpeg_compression",
]  # fmt: skip
"""The fifteen of the paper: noise, blur, weather, digital."""

CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)

SEVERITIES = range(1, 6)

Constants = Literal["cifar", "imagenet"]
"""Whose constants: those of images of 32 x 32, or of 224 x 224."""

ROUNDING = 1e-6
"""Added before levels are truncated to 8 bits, so that no last bit of a sum decides."""


def corrupt(
    image: np.ndarray, corruption: Corruption, severity: int, constants: Constants, rng: Generator
) -> np.ndarray:
    """The corrupted image, height x width x channels, uint8 like `image`, truncated as in the published files."""
    function, strengths = GENERATED[corruption]
    corrupted = function(image / 255, strengths[constants][severity - 1], rng)
    return (255 * corrupted.clip(0, 1) + ROUNDING).astype(np.uint8)


def gaussian_noise(x: np.ndarray, sd: float, rng: Generator) -> np.ndarray:
    """Normal noise of this standard deviation."""
    return x + rng.normal(scale=sd, size=x.shape)


def shot_noise(x: np.ndarray, photons: float, rng: Generator) -> np.ndarray:
    """Poisson noise: a white pixel counts so many photons on average."""
    return rng.poisson(photons * x) / photons


def impulse_noise(x: np.ndarray, share: float, rng: Generator) -> np.ndarray:
    """Salt and pepper: this share of all values becomes 0 or 1, each as often."""
    hit, salt = rng.random(x.shape) < share, rng.random(x.shape) < 0.5
    return np.where(hit, salt, x)


def defocus_blur(x: np.ndarray, strength: tuple[float, float], rng: Generator) -> np.ndarray:
    """Convolution with a disk of this radius, whose edge is smoothed by a Gaussian of this standard deviation."""
    radius, sd = strength
    reach, half = (8, 1) if radius <= 8 else (int(radius), 2)
    row, column = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (row**2 + column**2 <= radius**2).astype(float)
    disk /= disk.sum()
    bell = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sd**2))
    for axis in (0, 1):
        disk = scipy.ndimage.correlate1d(disk, bell / bell.sum(), axis, mode="mirror")
    # Most of the square is zero for small disks: leave it out.
    margin = reach - int(np.abs(row[disk > 0]).max())
    kernel = disk[margin : len(disk) - margin, margin : len(disk) - margin, None]
    return scipy.ndimage.correlate(x, kernel, mode="mirror")


def zoom_blur(x: np.ndarray, zooms: np.ndarray, rng: Generator) -> np.ndarray:
    """The mean of the image and of its centre enlarged by each factor."""
    return (x + sum(_enlarged(x, zoom) for zoom in zooms)) / (1 + len(zooms))


def _enlarged(x: np.ndarray, zoom: float) -> np.ndarray:
    """The centre of an image, enlarged to its size by linear interpolation."""
    height, width, _ = x.shape
    rows, columns = int(np.ceil(height / zoom)), int(np.ceil(width / zoom))
    top, left = (height - rows) // 2, (width - columns) // 2
    large = scipy.ndimage.zoom(x[top : top + rows, left : left + columns], (zoom, zoom, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


def fog(x: np.ndarray, strength: tuple[float, float], rng: Generator) -> np.ndarray:
    """So much of a cloud is added, and the sum scaled so that its largest possible value is the image's largest."""
    thickness, decay = strength
    height, width, _ = x.shape
    cloud = plasma(1 << (max(height, width) - 1).bit_length(), decay, rng)[:height, :width, None]
    return (x + thickness * cloud) * x.max() / (x.max() + thickness)


def plasma(side: int, decay: float, rng: Generator) -> np.ndarray:
    """A cloud by the diamond-square algorithm on a torus: side x side, a power of two, with values from 0 to 1.

    Each new point is the mean of four neighbours plus uniform noise in ±wibble²; wibble falls by `decay` at each scale.
    """
    cloud, step, wibble = np.zeros((side, side)), side, 100.0

    def mean(*four: np.ndarray) -> np.ndarray:
        return sum(four) / 4 + rng.uniform(-(wibble**2), wibble**2, four[0].shape)

    while step >= 2:
        half, corners = step // 2, cloud[::step, ::step].copy()
        right, below = np.roll(corners, -1, 1), np.roll(corners, -1, 0)
        # Squares: the centre of four corners. Diamonds: the middle of two corners, between two centres.
        centres = mean(corners, right, below, np.roll(right, -1, 0))
        cloud[half::step, half::step] = centres
        cloud[::step, half::step] = mean(corners, right, centres, np.roll(centres, 1, 0))
        cloud[half::step, ::step] = mean(corners, below, centres, np.roll(centres, 1, 1))
        step, wibble = half, wibble / decay
    cloud -= cloud.min()
    return cloud / cloud.max()


def brightness(x: np.ndarray, added: float, rng: Generator) -> np.ndarray:
    """The largest channel, which is the value in HSV, grows by so much, at most to 1; hue and saturation stay."""
    value = x.max(2, keepdims=True)
    brighter = (value + added).clip(max=1)
    return np.where(value > 0, x * brighter / np.where(value > 0, value, 1), brighter)


def contrast(x: np.ndarray, factor: float, rng: Generator) -> np.ndarray:
    """Distances from the mean of each channel, times a factor."""
    mean = x.mean((0, 1))
    return (x - mean) * factor + mean


def pixelate(x: np.ndarray, scale: float, rng: Generator) -> np.ndarray:
    """Made smaller by this factor and large again, both by averages over boxes."""
    height, width, _ = x.shape
    small = _picture(x).resize((max(1, int(width * scale)), max(1, int(height * scale))), Image.Resampling.BOX)
    return _levels(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(x: np.ndarray, quality: int, rng: Generator) -> np.ndarray:
    """Compressed at this quality and decoded."""
    stream = BytesIO()
    _picture(x).save(stream, "JPEG", quality=quality)
    return _levels(Image.open(stream))


def _picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * (x[..., 0] if x.shape[2] == 1 else x)).astype(np.uint8))


def _levels(picture: Image.Image) -> np.ndarray:
    levels = np.asarray(picture) / 255
    return levels[..., None] if levels.ndim == 2 else levels


def _zooms(ends: tuple[float, ...], steps: tuple[float, ...]) -> list[np.ndarray]:
    return [np.arange(1, end, step) for end, step in zip(ends, steps, strict=True)]


Strengths = dict[Constants, Any]
"""A list of five for each: the strength at severities 1 to 5."""

GENERATED: dict[Corruption, tuple[Callable[[np.ndarray, Any, Generator], np.ndarray], Strengths]] = {
    "gaussian_noise": (
        gaussian_noise,
        {"cifar": [0.04, 0.06, 0.08, 0.09, 0.10], "imagenet": [0.08, 0.12, 0.18, 0.26, 0.38]},
    ),
    "shot_noise": (shot_noise, {"cifar": [500, 250, 100, 75, 50], "imagenet": [60, 25, 12, 5, 3]}),
    "impulse_noise": (
        impulse_noise,
        {"cifar": [0.01, 0.02, 0.03, 0.05, 0.07], "imagenet": [0.03, 0.06, 0.09, 0.17, 0.27]},
    ),
    "defocus_blur": (
        defocus_blur,
        {
            "cifar": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
            "imagenet": [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
        },
    ),
    "zoom_blur": (
        zoom_blur,
        {
            "cifar": _zooms((1.06, 1.11, 1.16, 1.21, 1.26), (0.01,) * 5),
            "imagenet": _zooms((1.11, 1.16, 1.21, 1.26, 1.31), (0.01, 0.01, 0.02, 0.02, 0.03)),
        },
    ),
    "fog": (
        fog,
        {
            "cifar": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
            "imagenet": [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
        },
    ),
    "brightness": (brightness, {"cifar": [0.05, 0.1, 0.15, 0.2, 0.3], "imagenet": [0.1, 0.2, 0.3, 0.4, 0.5]}),
    "contrast": (contrast, {"cifar": [0.75, 0.5, 0.4, 0.3, 0.15], "imagenet": [0.4, 0.3, 0.2, 0.1, 0.05]}),
    "pixelate": (pixelate, {"cifar": [0.95, 0.9, 0.85, 0.75, 0.65], "imagenet": [0.6, 0.5, 0.4, 0.3, 0.25]}),
    "jpeg_compression": (jpeg_compression, {"cifar": [80, 65, 58, 50, 40], "imagenet": [25, 18, 15, 10, 7]}),
}
"""The corruptions that are generated here, each with its published strengths."""
