"""The figures of the leaderboard, in one style that also reads in grey and without colour vision."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import LogLocator, NullLocator

from harness.files import replacing

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by colour-blind eyes; their yellow is left out, for it is lost on white."""

MARKERS = "os^DvPX*"
"""One more than colours, so that a pair returns only after all others."""

ROW = 4
"""How many pictures stand side by side."""

DPI = 150

NARROW, WIDE = 3.2, 6.0
"""Inches that a picture takes at least, and at most."""


Cell = tuple[float, ...]
"""The values of a study's factors."""


@dataclass(frozen=True)
class Fate:
    """What can become of a run, and how that is drawn."""

    title: str
    colour: str
    hatch: str = ""


FATES = {
    "sound": Fate("sound", "#BFE0F5"),
    "collapsed": Fate("collapsed to chance", "#E69F00", "///"),
    "diverged": Fate("diverged", "#333333"),
}
"""Light, hatched and dark, so that grey tells them apart too; the best first."""


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


@dataclass(frozen=True)
class Map:
    """How many runs of a method came to which fate, by the values of two factors: column, row."""

    title: str
    cells: Mapping[Cell, Counter[str]]


def tradeoff(path: Path, points: Sequence[Point], x: Scale, y: Scale, said: str) -> None:
    """Write a PNG of one score against another, a mark for each point, named in the order of the points.

    said: what must be said of the numbers, above them.
    """
    figure = Figure(figsize=(7.6, 4.4), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    for point, colour, marker in zip(points, cycle(COLOURS), cycle(MARKERS), strict=False):
        style = {"color": colour, "marker": marker, "markersize": 8, "markeredgecolor": "black"}
        name = fill(point.label, 28)
        axes.errorbar(point.x, point.y, point.y_sd, point.x_sd, capsize=3, linestyle="none", label=name, **style)
    axes.set(xlabel=f"{x.title}  (better →)", ylabel=f"{y.title}  (better →)")
    axes.set_title(said, fontsize=10)
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
    """Write a PNG of pictures side by side, each below its title, at their own size where that fits."""
    images = [imread(picture) for _, picture in pictures]
    width = min(max(NARROW, *(image.shape[1] / DPI for image in images)), WIDE)
    titles = [fill(title, int(12 * width)) for title, _ in pictures]
    height = width * max(image.shape[0] / image.shape[1] for image in images)
    height += 0.2 * (2 + max(title.count("\n") for title in titles))
    columns = min(ROW, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(width * columns, height * rows), dpi=DPI, layout="constrained")
    for place, (title, image) in enumerate(zip(titles, images, strict=True), start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
        axes.set_anchor("N")  # right below its title, for which the layout then leaves room
    _save(figure, path)


def maps(path: Path, shown: Sequence[Map], factors: Sequence[str], said: str = "") -> None:
    """Write a PNG of maps side by side on the same axes, of two factors; a cell tells how many runs are sound, of all.

    A cell with no run is left empty. said: what must be said of the numbers, above them.
    """
    columns, rows = (sorted({cell[axis] for one in shown for cell in one.cells}) for axis in (0, 1))
    wide = min(ROW, len(shown))
    high = -(-len(shown) // wide)
    size = max(5.2, wide * (0.9 + 0.62 * len(columns))), 0.8 + high * (0.8 + 0.5 * len(rows))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    for number, one in enumerate(shown, start=1):
        axes = figure.add_subplot(high, wide, number)
        for cell, fates in sorted(one.cells.items()):
            _cell(axes, columns.index(cell[0]), rows.index(cell[1]), fates)
        axes.set_title(fill(one.title, 28), fontsize=10)
        axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5), facecolor="white")
        axes.set(xlabel=f"{factors[0]} × recipe", ylabel=f"{factors[1]} × recipe")
        axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
        axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
        axes.tick_params(length=0)
    if said:
        figure.suptitle(said, fontsize=10)
    keys = [Patch(label=f.title, facecolor=f.colour, hatch=f.hatch, edgecolor="black") for f in FATES.values()]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


def _cell(axes: Axes, column: int, row: int, fates: Counter[str]) -> None:
    """A cell cut into stripes as wide as its fates are frequent, and how many runs are sound, of all."""
    left, style = column - 0.5, {"edgecolor": "black", "linewidth": 0}
    for name, fate in FATES.items():
        width = fates[name] / fates.total()
        axes.add_patch(Rectangle((left, row - 0.5), width, 1, facecolor=fate.colour, hatch=fate.hatch, **style))
        left += width
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=2))
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"}
    axes.text(column, row, f"{fates['sound']}/{fates.total()}", ha="center", va="center", fontsize=9, bbox=box)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
