"""The mean ranks of series, and which of them do not differ significantly: Demšar's critical-difference figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

from harness.reports.plots.style import GREY, Look, drawing, once
from harness.reports.plots.svg import group, of_series

LETTERS = 34
"""Letters in a line of a series' label."""


@once
def ranks(
    path: Path,
    means: Mapping[str, float],
    looks: Mapping[str, Look],
    groups: Sequence[tuple[float, float]],
    distance: float,
    said: str = "",
) -> None:
    """Write the figure: a line for each series, best on top, with a marker at its mean rank; 1 is the best.

    Each grey bar spans a group, from its lowest rank to its highest, in which no two series differ significantly.
    The black bar is as long as the critical difference. said: the remark above the ranks.
    """
    ordered = sorted(means, key=means.__getitem__)
    names = [fill(name, LETTERS) for name in ordered]
    line = max(0.28, 0.16 * max(1 + name.count("\n") for name in names))  # the lines of a label stand apart
    height = 1.1 + line * (len(names) + 0.5 * (len(groups) + 2))
    with drawing(path, 6.6, height, said, rows=True) as figure:
        axes = figure.add_subplot()
        # The bars stand above the series, in lines of half the height.
        for place, (low, high) in enumerate(groups):
            axes.plot([low, high], [-0.5 * (place + 1)] * 2, color=GREY, linewidth=4, solid_capstyle="butt")
        top = -0.5 * (len(groups) + 2)
        axes.plot([1, 1 + distance], [top] * 2, color="black", linewidth=1.5, marker="|")
        for place, name in enumerate(ordered):
            with of_series(axes, name):
                axes.plot(means[name], place, **looks[name].mark)
        axes.set_yticks([top, *range(len(ordered))], ["critical difference", *names])
        for text, name in zip(axes.get_yticklabels()[1:], ordered, strict=True):
            text.set_gid(group(name))
        axes.set(xlabel="mean rank", xlim=(0.8, max(len(ordered), 1 + distance) + 0.2))
        axes.set_ylim(len(ordered) - 0.5, top - 0.5)
