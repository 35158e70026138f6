"""Lines of all series in panels with one legend: over training, attack radius, or the sampler's steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from harness.reports.plots.style import Look, drawing, legend, once, panels_beside
from harness.reports.plots.svg import of_series

APART = 0.006
"""Distance between bars at the same x, as a share of the axis."""

MARKS = 6
"""Number of markers along a line with a band."""


@dataclass(frozen=True)
class Line:
    """A series in a panel: means over rising x, and the ends of their bars, NaN if they have none.

    filled: which markers are filled; None for all.
    """

    x: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    filled: Sequence[bool] | None = None


@dataclass(frozen=True)
class Panel:
    """Lines by the label of their series; dense: with bands, not bars; log: the logarithmic axes, such as "xy"."""

    x: str
    y: str
    lines: Mapping[str, Line]
    dense: bool = False
    log: str = ""

    def aside(self, turn: int) -> float:
        """Return the shift of a line's bars so that lines do not overlap; 0 on a logarithmic axis."""
        xs = [x for line in self.lines.values() for x in line.x]
        return 0 if "x" in self.log else APART * (max(xs) - min(xs)) * (turn - (len(self.lines) - 1) / 2)


@once
def lines(path: Path, panels: Sequence[Panel], looks: Mapping[str, Look], said: str = "") -> None:
    """Write the figure: at most three panels side by side, and the legend, in the order of the looks.

    said: the remark above the panels.
    """
    columns = panels_beside(min(3, len(panels)), 1.6 if panels[0].dense else 2.2)
    rows = -(-len(panels) // columns)
    width, height = (5.6, 4.0) if len(panels) == 1 else (2.9 * columns, 2.2 * rows)
    artists: dict[str, Artist] = {}
    with drawing(path, width + 1.9, max(height, 3.4), said, beside=1.9) as figure:
        # Draw the panels; dense ones share the range of x.
        for place, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(
                rows, columns, place, sharex=figure.axes[0] if panel.dense and place > 1 else None
            )
            for turn, (label, line) in enumerate(panel.lines.items()):
                look = looks[label]
                with of_series(axes, label):
                    artists[label] = (
                        _band(axes, line, look) if panel.dense else _bars(axes, line, look, panel.aside(turn))
                    )
            _label_axes(axes, panel, below=panel.dense and place + columns <= len(panels))
        labels = [label for label in looks if label in artists]
        names = [fill(label, 24) for label in labels]
        handles = [artists[label] for label in labels]
        legend(figure, handles, names, loc="outside right upper", fontsize=8, handlelength=3.4)


def _bars(axes: Axes, line: Line, look: Look, aside: float) -> Artist:
    """Draw a line whose markers have bars, shifted by `aside`."""
    places = [x + aside for x in line.x]
    axes.vlines(places, line.low, line.high, color=look.colour, linewidth=0.8)
    for x, mean, full in zip(places, line.mean, line.filled or [True] * len(line.x), strict=True):
        axes.plot(x, mean, **look.mark, markerfacecolor=look.colour if full else "white")
    axes.plot(places, line.mean, color=look.colour, linestyle=look.dash, zorder=1.5)
    return axes.plot([], [], linestyle=look.dash, **look.mark)[0]


def _band(axes: Axes, line: Line, look: Look) -> Artist:
    """Draw a line in its band, with few markers."""
    axes.fill_between(line.x, line.low, line.high, color=look.colour, alpha=0.15, linewidth=0)
    every = max(1, len(line.x) // MARKS)
    few = {"markevery": (every // 2, every), "markersize": 4}
    return axes.plot(line.x, line.mean, linestyle=look.dash, **few, **look.mark)[0]


def _label_axes(axes: Axes, panel: Panel, below: bool) -> None:
    """Label and scale the axes; below: the panel below has the label of x."""
    axes.set(xlabel="" if below else panel.x, ylabel=panel.y)
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in panel.log:
            _logarithmic(axes, name, axis)
    if panel.dense:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _logarithmic(axes: Axes, name: str, axis: Axis) -> None:
    axes.set(**{f"{name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
