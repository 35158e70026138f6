"""Reliability diagrams of all series: accuracy by confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes

from harness.evaluation.intervals import wilson
from harness.reports.plots.style import BLUE, PALE, drawing, once, panels_beside
from harness.reports.plots.svg import group

ROW = 5
"""Maximum number of diagrams side by side."""


@dataclass(frozen=True)
class Bin:
    """Number of images with a confidence in (low, high], and how many of them are classified correctly."""

    low: float
    high: float
    count: int
    right: int


@dataclass(frozen=True)
class Diagram:
    """The bins of a series, and a note below its title."""

    label: str
    note: str
    bins: Sequence[Bin]


@once
def reliability(path: Path, diagrams: Sequence[Diagram], said: str = "") -> None:
    """Write the figure: for each series the accuracy in each bin that holds images, with its 95 % interval (Wilson).

    said: the remark above the diagrams.
    """
    columns = panels_beside(min(ROW, len(diagrams)), 1.6)
    rows = -(-len(diagrams) // columns)
    with drawing(path, max(4.2, 1.9 * columns), 2.2 * rows + 0.5, said) as figure:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, diagram in zip(grid.flat, diagrams, strict=False):
            _diagram(axes, diagram)
        for axes in grid.flat[len(diagrams) :]:
            axes.set_visible(False)
        figure.supxlabel("confidence, %", fontsize=9)
        figure.supylabel("accuracy, %", fontsize=9)


def _diagram(axes: Axes, diagram: Diagram) -> None:
    for bin in filter(lambda bin: bin.count, diagram.bins):
        share, (low, high) = bin.right / bin.count, wilson(bin.right, bin.count)
        left, width = 100 * bin.low, 100 * (bin.high - bin.low)
        axes.bar(left, 100 * share, width, align="edge", color=PALE, edgecolor=BLUE, linewidth=0.6)
        axes.vlines(left + width / 2, 100 * low, 100 * high, color="black", linewidth=0.8)
    axes.set_gid(group(diagram.label))
    axes.plot([0, 100], [0, 100], color="black", linestyle="--", linewidth=0.8)
    axes.set(xlim=(0, 100), ylim=(0, 100), xticks=(0, 50, 100), yticks=(0, 50, 100), aspect="equal")
    axes.set_title("\n".join(filter(None, [fill(diagram.label, 24), diagram.note])), fontsize=9)
