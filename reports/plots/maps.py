"""Maps of the outcomes of a study's runs, by the values of two factors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from harness.reports.plots.style import ORANGE, PALE, drawing, legend, once, panels_beside

ROW = 4
"""Maximum number of maps side by side."""

LETTERS = 11
"""Letters of a title in an inch."""

Cell = tuple[float, ...]
"""The values of a study's factors."""


@dataclass(frozen=True)
class Fate:
    """A possible outcome of a run, and how it is drawn."""

    title: str
    colour: str
    hatch: str = ""


FATES = {
    "sound": Fate("sound", PALE),
    "collapsed": Fate("collapsed to chance", ORANGE, "///"),
    "diverged": Fate("diverged", "#333333"),
}
"""Light, hatched and dark, so that they differ in greyscale too; best first."""


@dataclass(frozen=True)
class Map:
    """Number of runs of a method with each fate, by the values of two factors: column, row."""

    title: str
    cells: Mapping[Cell, Counter[str]]


@once
def maps(path: Path, shown: Sequence[Map], factors: Sequence[str], said: str = "") -> None:
    """Write the maps side by side on the same axes of two factors; a cell shows how many of its runs are sound.

    A cell without runs stays empty. said: the remark above the maps.
    """
    columns, rows = (sorted({cell[axis] for panel in shown for cell in panel.cells}) for axis in (0, 1))
    width, height = 0.9 + 0.62 * len(columns), 0.8 + 0.5 * len(rows)
    wide = panels_beside(min(ROW, len(shown)), 0.8 * width)
    high = -(-len(shown) // wide)
    with drawing(path, max(5.2, wide * width), 0.8 + high * height, said) as figure:
        # Draw each map on the axes that all share.
        for number, panel in enumerate(shown, start=1):
            axes = figure.add_subplot(high, wide, number)
            for cell, fates in sorted(panel.cells.items()):
                _cell(axes, columns.index(cell[0]), rows.index(cell[1]), fates)
            axes.set_title(fill(panel.title, int(LETTERS * width)))
            axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(-0.5, len(rows) - 0.5))
            axes.set(xlabel=f"{factors[0]} × recipe", ylabel=f"{factors[1]} × recipe")
            axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
            axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
            axes.tick_params(length=0)
            axes.grid(visible=False)
        keys = [Patch(facecolor=fate.colour, hatch=fate.hatch, edgecolor="black") for fate in FATES.values()]
        legend(figure, keys, [fate.title for fate in FATES.values()], loc="outside lower center", ncols=3)


def _cell(axes: Axes, column: int, row: int, fates: Counter[str]) -> None:
    """Draw a cell: a stripe for each fate, as wide as its share, and the number of sound runs out of all."""
    left, style = column - 0.5, {"edgecolor": "black", "linewidth": 0}
    for name, fate in FATES.items():
        width = fates[name] / fates.total()
        axes.add_patch(Rectangle((left, row - 0.5), width, 1, facecolor=fate.colour, hatch=fate.hatch, **style))
        left += width
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=2))
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none"}
    axes.text(column, row, f"{fates['sound']}/{fates.total()}", ha="center", va="center", fontsize=9, bbox=box)
