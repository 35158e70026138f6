"""A method's own samples: class-balanced, from fixed seeds, in chunks that survive interruption."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from harness.data import Outliers
from harness.energy import EnergyModel
from harness.errors import Diverged
from harness.files import replacing
from harness.method import Method, State
from harness.randomness import PerImage, derive
from harness.settings import settings

SHOWN = 10
"""Rows of the sample grid; its columns are the classes."""

SIDE = 48
"""Pixels that an image of the grid is enlarged to, at least."""


@settings
class Sampling:
    """How many samples a protocol asks for, made how many at a time, and the seed of their noise."""

    count: int
    chunk: int
    seed: int

    def __post_init__(self) -> None:
        if self.count < 4 or self.chunk < 1:
            raise ValueError("count must be 4 or more (precision and recall need neighbours), chunk 1 or more")


def samples(
    method: Method,
    model: EnergyModel,
    state: State,
    outliers: Outliers,
    classes: int,
    how: Sampling,
    folder: Path,
    device: torch.device,
    watch: Callable[[int], None],
) -> Tensor:
    """`how.count` images, uint8, N x C x H x W. Sample i is of class i mod K and depends on seed i alone.
    Raises Diverged if an image is not finite.

    Each chunk is a file in the folder; those that are there are not made again.
    """
    paths: list[Path] = []
    for first in range(0, how.count, how.chunk):
        paths.append(folder / f"{first:07d}.npy")
        if not paths[-1].exists():
            indices = range(first, min(first + how.chunk, how.count))
            images = draw(method, model, state, outliers, classes, how.seed, indices, device)
            with replacing(paths[-1]) as temporary:
                np.save(temporary, eight_bits(images.cpu()).numpy())
        watch(min(first + how.chunk, how.count))
    return torch.cat([torch.from_numpy(np.load(path)) for path in paths])


def draw(
    method: Method,
    model: EnergyModel,
    state: State,
    outliers: Outliers,
    classes: int,
    seed: int,
    indices: range,
    device: torch.device,
) -> Tensor:
    """The samples of some indices, float in [0, 1]; raises Diverged if one is not finite."""
    labels = torch.tensor([i % classes for i in indices], device=device)
    rng = PerImage([derive(seed, "sample", i) for i in indices])
    images = method.sample(model, outliers.starts(indices).to(device), labels, state, rng)
    if not images.isfinite().all():
        raise Diverged("the samples are not finite")
    return images.clamp(0, 1)


def eight_bits(images: Tensor) -> Tensor:
    """[0, 1] → uint8 by ⌊255 x⌋, as the published evaluation stores its samples (truncated, not rounded)."""
    return (images * 255).to(torch.uint8)


def save_grid(images: Tensor, classes: int, path: Path) -> None:
    """A PNG of the first samples, one column for each class; uint8 images, N x C x H x W."""
    shown = images[: SHOWN * classes]
    scale = -(-SIDE // shown.shape[-1])
    shown = shown.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    grid = make_grid(shown, nrow=classes, padding=2, pad_value=255)
    with replacing(path) as temporary:
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(temporary)
