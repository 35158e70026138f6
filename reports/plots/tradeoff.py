"""One score against another, of our series and of published results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullLocator

from harness.reports.plots.style import GREY, Look, drawing, legend, once
from harness.reports.plots.svg import of_series

PUBLISHED = "published, not run here"

HOLLOW = "os^DvPX*"
"""Markers of published results."""

LETTERS = 28
"""Letters in a line of the legend."""


@dataclass(frozen=True)
class Value:
    """A number and the ends of its bar, NaN if it has none."""

    mean: float
    low: float
    high: float

    @property
    def bar(self) -> tuple[list[float], list[float]]:
        """Length of the bar below and above the mean."""
        return [self.mean - self.low], [self.high - self.mean]


@dataclass(frozen=True)
class Point:
    """A series in the plane; front: whether it is on the Pareto front."""

    label: str
    look: Look
    x: Value
    y: Value
    front: bool = False


@dataclass(frozen=True)
class Reference:
    """A published result, whose scatter is unknown."""

    label: str
    x: float
    y: float


HIGH = 44
"""Letters of a line beside the vertical axis, which is not longer."""


@dataclass(frozen=True)
class Scale:
    """Title of an axis; better: "higher" or "lower", the end that is drawn at the right or the top."""

    title: str
    better: str


@once
def tradeoff(
    path: Path, points: Sequence[Point], references: Sequence[Reference], x: Scale, y: Scale, said: str = ""
) -> None:
    """Write the figure: a marker for each point, a hollow one for each reference, a thin line along the front.

    said: the remark above the plot.
    """
    lines = sum(1 + len(entry.label) // LETTERS for entry in [*points, *references])
    with drawing(path, 7.6, max(4.4, 0.9 + 0.18 * lines), said, beside=2.2) as figure:
        axes, handles = figure.add_subplot(), list[Any]()
        # Draw the front below the points.
        front = sorted((point.x.mean, point.y.mean) for point in points if point.front)
        if len(front) > 1:
            handles += axes.plot(*zip(*front, strict=True), color=GREY, linewidth=0.8, zorder=1, label="Pareto front")
        for point in points:
            style = {"linestyle": "none", "markersize": 8, "elinewidth": 1, "label": fill(point.label, LETTERS)}
            bars = point.y.bar, point.x.bar
            with of_series(axes, point.label):
                handles.append(axes.errorbar(point.x.mean, point.y.mean, *bars, **style, **point.look.mark))
        if references:
            handles += axes.plot([], [], linestyle="none", label=f"\n{PUBLISHED}:")
        for place, entry in enumerate(references):
            style = {"marker": HOLLOW[place % len(HOLLOW)], "linestyle": "none", "label": fill(entry.label, LETTERS)}
            handles += axes.plot(entry.x, entry.y, color=GREY, markerfacecolor="white", **style)
        _scales(axes, x, y)
        legend(figure, handles, [handle.get_label() for handle in handles], loc="outside right upper", fontsize=8)


def _scales(axes: Axes, x: Scale, y: Scale) -> None:
    axes.set(xlabel=f"{x.title}  (better →)", ylabel=fill(f"{y.title}  (better →)", HIGH))
    axes.margins(0.08)
    axes.set_xscale("log")  # distances of methods differ by factors
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_inverted(x.better == "lower")
    axes.yaxis.set_inverted(y.better == "lower")
