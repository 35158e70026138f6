"""The figures of the leaderboard, in one style that also reads in grey and without colour vision."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.ticker import LogLocator, NullLocator

from harness.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by colour-blind eyes; their yellow is left out, for it is lost on white."""

MARKERS = "os^DvPX*"
"""One more than colours, so that a pair returns only after all others."""

ROW = 4
"""How many sample grids stand side by side."""


@dataclass(frozen=True)
class Point:
    """A mark of the trade-off: mean and standard deviation over seeds on both axes, NaN where there is one seed."""

    label: str
    x: float
    x_sd: float
    y: float
    y_sd: float


@dataclass(frozen=True)
class Scale:
    """What an axis shows; its better end, higher or lower, is drawn at the right or the top."""

    title: str
    better: str


def tradeoff(path: Path, points: Sequence[Point], x: Scale, y: Scale) -> None:
    """Write a PNG of one score against another, a mark for each point, named in the order of the points."""
    figure = Figure(figsize=(7.6, 4.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for point, colour, marker in zip(points, cycle(COLOURS), cycle(MARKERS), strict=False):
        style = {"color": colour, "marker": marker, "markersize": 8, "markeredgecolor": "black"}
        name = fill(point.label, 28)
        axes.errorbar(point.x, point.y, point.y_sd, point.x_sd, capsize=3, linestyle="none", label=name, **style)
    axes.set(xlabel=f"{x.title}  (better →)", ylabel=f"{y.title}  (better →)")
    axes.margins(0.08)
    axes.set_xscale("log")  # distances of methods differ by factors
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_inverted(x.better == "lower")
    axes.yaxis.set_inverted(y.better == "lower")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    _save(figure, path)


def grids(path: Path, pictures: Sequence[tuple[str, Path]]) -> None:
    """Write a PNG of pictures side by side, each below its title."""
    columns = min(ROW, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.6 * rows), dpi=150, layout="constrained")
    for place, (title, picture) in enumerate(pictures, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(imread(picture), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(fill(title, 40), fontsize=9)
        axes.axis("off")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
