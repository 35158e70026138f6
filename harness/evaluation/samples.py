"""A method's own samples: class-balanced, from fixed seeds, in chunks that survive interruption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.core.dataset import Outliers
from harness.core.energy import EnergyModel
from harness.core.errors import CanaryFailed, Diverged
from harness.core.files import atomic_write
from harness.core.method import Method, State
from harness.core.random import PerImage, derive
from harness.core.settings import settings
from harness.evaluation.parts import read_mark, write_mark

SHOWN = 10
"""Number of rows of the sample grid; its columns are the classes."""

WIDEST = 100
"""Largest number of classes with a column each: ImageNet's thousand would make a picture of 256,000 pixels."""

SIDE = 48
"""Minimum side of an image in the grid, in pixels; smaller ones are enlarged."""


@settings
class Sampling:
    """The number of samples of a protocol, the chunk size, and the seed of their noise."""

    count: int
    chunk: int
    seed: int

    def __post_init__(self) -> None:
        if self.count < 4 or self.chunk < 1:
            raise ValueError("count must be 4 or more (precision and recall need neighbours), chunk 1 or more")


@dataclass(frozen=True)
class Samples(Sequence[Tensor]):
    """The samples of a run, numbered from `offset`; each chunk is a file, uint8, N x C x H x W."""

    folder: Path
    how: Sampling
    offset: int = 0

    def __len__(self) -> int:
        return -(-self.how.count // self.how.chunk)

    def __getitem__(self, chunk: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not 0 <= chunk < len(self):
            raise IndexError(chunk)
        if self.mark(chunk).exists():  # older versions wrote none
            read_mark(self.mark(chunk))
        return torch.from_numpy(np.load(self.path(chunk)))

    def path(self, chunk: int) -> Path:
        """The file of a chunk."""
        return self.folder / f"{self.indices(chunk)[0]:07d}.npy"

    def mark(self, chunk: int) -> Path:
        """The file that marks a chunk as done."""
        return self.path(chunk).with_suffix(".json")

    def indices(self, chunk: int) -> range:
        """The numbers of a chunk's samples."""
        first, end = chunk * self.how.chunk, min((chunk + 1) * self.how.chunk, self.how.count)
        return range(self.offset + first, self.offset + end)

    @property
    def seconds(self) -> float | None:
        """The time that all chunks took to draw; None if older versions drew some of them."""
        marks = [read_mark(self.mark(chunk)) for chunk in range(len(self)) if self.mark(chunk).exists()]
        known = [mark["seconds"] for mark in marks if "seconds" in mark]
        return sum(known) if len(known) == len(self) else None

    def write(
        self, chunk: int, images: Tensor, code: Mapping[str, str] = MappingProxyType({}), seconds: float | None = None
    ) -> None:
        """Store the samples of a chunk, float in [0, 1], in 8 bits, atomically; then mark them as done.

        seconds: how long they took to draw, which the mark keeps.
        """
        with atomic_write(self.path(chunk)) as temporary:
            np.save(temporary, eight_bits(images.cpu()).numpy())
        write_mark(self.mark(chunk), code, self.path(chunk), {} if seconds is None else {"seconds": seconds})

    def first(self, count: int) -> Tensor:
        """The first `count` samples, or all if there are fewer."""
        chunks: list[Tensor] = []
        for chunk in self:
            chunks.append(chunk)
            if sum(map(len, chunks)) >= count:
                break
        return torch.cat(chunks)[:count]


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
    """Draw the samples of some indices, float in [0, 1]. Sample i has class i mod K and depends on seed i alone.

    Raises Diverged if one is not finite, CanaryFailed if they have the wrong size.
    """
    labels = labels_of(indices, classes).to(device)
    return draw_of(method, model, state, outliers, labels, seed, indices)


def labels_of(indices: Sequence[int], classes: int) -> Tensor:
    """The classes, N, that samples of some indices are drawn for."""
    return torch.tensor([i % classes for i in indices])


def draw_of(
    method: Method, model: EnergyModel, state: State, outliers: Outliers, labels: Tensor, seed: int, indices: range
) -> Tensor:
    """Like `draw`, for any classes: `labels`, one for each index, on the model's device."""
    rng = PerImage([derive(seed, "sample", i) for i in indices])
    starts = outliers.starts(indices).to(labels.device)
    images = method.sample(model, starts, labels, state, rng)
    if images.shape != starts.shape:
        raise CanaryFailed(f"The samples are {tuple(images.shape)}, but should be {tuple(starts.shape)}.")
    if not images.isfinite().all():
        raise Diverged("the samples are not finite")
    return images.clamp(0, 1)


def eight_bits(images: Tensor) -> Tensor:
    """[0, 1] → uint8 by ⌊255 x⌋, as the published evaluation stores its samples (truncated, not rounded)."""
    return (images * 255).to(torch.uint8)


def columns(classes: int) -> int:
    """Number of grid columns: one per class, or 10 if there are more than WIDEST classes."""
    return classes if classes <= WIDEST else SHOWN


def save_grid(images: Tensor, classes: int, path: Path) -> None:
    """Write a PNG of the first samples, in `columns(classes)` columns; uint8 images, N x C x H x W."""
    from torchvision.utils import make_grid  # slow to import, and a plan does not need it

    cells = images[: SHOWN * columns(classes)]
    scale = -(-SIDE // cells.shape[-1])
    cells = cells.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    grid = make_grid(cells, nrow=columns(classes), padding=2, pad_value=255)
    with atomic_write(path) as temporary:
        Image.fromarray(grid.permute(1, 2, 0).numpy()).save(temporary)
