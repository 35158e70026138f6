"""Small charts of the values that a run logged in training, drawn as SVG on the run's page."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

POINTS = 60
"""About how many logged steps are drawn; all of them if there are fewer."""

WIDTH, HEIGHT = 240, 90
"""Size of the area that the line is drawn in, in units of the SVG."""


@dataclass(frozen=True)
class Chart:
    """A line over the images seen: `points` of an SVG polyline, and the labels at the ends of both axes."""

    title: str
    points: str
    low: str
    high: str
    first: str
    last: str


def charts(text: str) -> list[Chart]:
    """Return a chart for each logged name of a metrics.jsonl, in order of appearance; damaged lines are left out."""
    lines = [line for line in text.splitlines() if line.endswith("}")]
    values: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in _read(dict.fromkeys([*lines[:: max(1, len(lines) // POINTS)], *lines[-1:]])):
        for key, value in line.items():
            if key != "images" and isfinite(value):
                values[key].append((line["images"], value))
    return [_chart(key, points) for key, points in values.items()]


def _read(lines: Iterable[str]) -> Iterator[dict[str, float]]:
    for line in lines:
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def _chart(title: str, points: Sequence[tuple[float, float]]) -> Chart:
    xs, ys = zip(*points, strict=True)
    (left, right), (low, high) = (min(xs), max(xs)), (min(ys), max(ys))
    wide, tall = (right - left) or 1, (high - low) or 1
    coordinates = (f"{(x - left) / wide * WIDTH:.1f},{(high - y) / tall * HEIGHT:.1f}" for x, y in points)
    return Chart(title, " ".join(coordinates), f"{low:.3g}", f"{high:.3g}", f"{left:,}", f"{right:,}")
