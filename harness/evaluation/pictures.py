"""The pictures that a run saves; they are also readable in greyscale and without colour vision."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from harness.core.files import atomic_write

if TYPE_CHECKING:  # matplotlib is slow to import, and most commands draw nothing
    from matplotlib.figure import Figure

LIGHT, DARK = "#BFE0F5", "#0072B2"
"""Blues that remain distinct in greyscale."""

DPI = 150

CELL = 0.8
"""Minimum side of a displayed image, in inches."""

LETTER = 0.06
"""Width of a caption's letter, in inches."""


class Cell(NamedTuple):
    """An image, C x H x W in [0, 1], grey or RGB, and the caption above it."""

    image: Tensor
    caption: str


def table(path: Path, rows: Sequence[Sequence[Cell]]) -> None:
    """Write a PNG of rows of captioned images of equal size."""
    side = max(CELL, 1.1 * rows[0][0].image.shape[-1] / DPI)  # room for every pixel, and for the gaps between images
    captions = [[fill(cell.caption, int(side / LETTER)) for cell in row] for row in rows]
    lines = 1 + max(caption.count("\n") for row in captions for caption in row)
    figure = _figure(side * len(rows[0]), (side + 0.1 + 0.12 * lines) * len(rows))
    for row, captioned, places in zip(
        rows, captions, figure.subplots(len(rows), len(rows[0]), squeeze=False), strict=True
    ):
        for cell, caption, axes in zip(row, captioned, places, strict=True):
            pixels = cell.image.expand(3, -1, -1).permute(1, 2, 0).cpu().numpy()
            axes.imshow(pixels, vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(caption, fontsize=7)
            axes.axis("off")
    _save(figure, path)


def short(name: str) -> str:
    """The first name of a class that has several."""
    return name.partition(",")[0]


def difference(image: Tensor, other: Tensor) -> Tensor:
    """The change from one image to another, in [0, 1]: grey is no change, the largest change is black or white."""
    change = other - image
    return 0.5 + change / (2 * change.abs().max().clamp(min=1e-6))


def reliability(path: Path, accuracy: np.ndarray, counts: np.ndarray, title: str) -> None:
    """Write a PNG of the reliability diagram: accuracy by equal-width bins of confidence, and images per bin.

    Empty bins have no bar; the diagonal is perfect calibration.
    """
    edges = np.linspace(0, 100, len(counts) + 1)
    style = {"width": np.diff(edges), "align": "edge", "edgecolor": "black"}
    figure = _figure(4.4, 5)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    # Above, the accuracy of each bin; below, its number of images.
    upper.bar(edges[:-1], 100 * np.where(counts > 0, accuracy, 0), color=LIGHT, label="accuracy", **style)
    upper.plot([0, 100], [0, 100], color="black", linestyle="--", label="perfect calibration")
    upper.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy, %")
    upper.set_title(title, fontsize=10)
    lower.bar(edges[:-1], counts, color=DARK, **style)
    lower.set(xlabel="confidence, %", ylabel="images")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    for axes in (upper, lower):
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
