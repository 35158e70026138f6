"""The figures of a section: what each shows, and where it was written."""

from collections.abc import Iterator
from pathlib import Path

from harness.record import Score
from harness.reports.figures import Point, Scale, grids, tradeoff
from harness.reports.section import Section
from harness.reports.series import Series, said

PICTURES = {"samples": "Samples", "reliability": "Reliability diagram", "counterfactuals": "Counterfactuals"}
"""The pictures of a run's folder that are shown side by side, and what they show."""

MOST = 24
"""How many series a figure shows: more are not told apart."""


def figures(section: Section, folder: Path) -> Iterator[tuple[str, Path]]:
    """The figures that there is something for: what each shows, and its path below the folder."""
    first = section.series[:MOST]
    among = f", of the first {MOST} of {len(section.series)} rows" if len(section.series) > MOST else ""
    robust, distance = section.first("robust_accuracy"), section.first("fd", "fid")
    if robust and distance and (found := points(first, distance, robust)):
        x, y, path = section.scores[distance], section.scores[robust], Path("figures") / f"tradeoff-{section.name}.png"
        tradeoff(folder / path, found, _scale(x), _scale(y), said(section.runs))
        yield f"{y.title} against {x.title}{among}; bars: sd over seeds", path
    for picture, what in PICTURES.items():
        shown = [(series.label, found) for series in first if (found := _picture(series, picture))]
        if shown:
            path = Path("figures") / f"{picture}-{section.name}.png"
            grids(folder / path, shown)
            yield f"{what} of each method{among}, from its lowest seed that is done", path


def points(series: list[Series], x: str, y: str) -> list[Point]:
    """The ranked series that have both scores."""
    both = [one for one in series if one.scores(x) and one.scores(y) and not one.barred]
    return [Point(one.label, one.mean(x), one.sd(x), one.mean(y), one.sd(y)) for one in both]


def _scale(score: Score) -> Scale:
    return Scale(score.title + (f" ({score.unit})" if score.unit else ""), score.better)


def _picture(series: Series, name: str) -> Path | None:
    """A picture of the lowest seed that is done; None if it is not there."""
    return series.done[0].file(f"{name}.png") if series.done else None
