"""Small charts of the values that a run logged in training, drawn as SVG on the run's page."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.reading import log_lines, parse_log

POINTS = 60
"""About how many logged steps are drawn; all of them if there are fewer."""

RARE = b"/validation_accuracy"
"""Part of the lines that hold what is measured now and then; all of them are drawn, for there are few."""

WIDTH, HEIGHT = 240, 90
"""Size of the area that the line is drawn in, in units of the SVG."""


@dataclass(frozen=True)
class Chart:
    """A line over the images seen: `points` of an SVG polyline, and the labels at the ends of both axes.

    values: the number of images and the value at each point, as in "128:0.5 256:0.25".
    """

    title: str
    points: str
    values: str
    low: str
    high: str
    first: str
    last: str


def charts(content: bytes) -> list[Chart]:
    """Return a chart for each logged name of a metrics.jsonl, in order of appearance; ValueError if it is damaged."""
    lines = log_lines(content)
    values: dict[str, list[tuple[float, float]]] = defaultdict(list)
    every, last = max(1, len(lines) // POINTS), len(lines) - 1
    drawn = [line for place, line in enumerate(lines) if place % every == 0 or place == last or RARE in line]
    for point in parse_log(drawn):
        for key, value in point.items():
            if key != "images":
                values[key].append((point["images"], value))
    return [_chart(key, points) for key, points in values.items()]


def _chart(title: str, points: Sequence[tuple[float, float]]) -> Chart:
    xs, ys = zip(*points, strict=True)
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    wide, tall = (right - left) or 1, (high - low) or 1
    coordinates = (f"{(x - left) / wide * WIDTH:.1f},{(high - y) / tall * HEIGHT:.1f}" for x, y in points)
    values = (f"{x}:{y:.4g}" for x, y in points)
    return Chart(title, " ".join(coordinates), " ".join(values), f"{low:.3g}", f"{high:.3g}", f"{left:,}", f"{right:,}")
