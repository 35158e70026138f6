"""LEADERBOARD.md: tables for each dataset and protocol, never two in one, then a section for each study."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from pathlib import Path

from harness.files import write_text
from harness.record import Score
from harness.reports import stability
from harness.reports.figures import Point, Scale, grids, tradeoff
from harness.reports.rows import Row, rows
from harness.reports.series import Series, daggers, judged, said, title
from harness.reports.tables import Column, Table
from harness.runs import Config

LEGEND = """\
↑ higher is better, ↓ lower is better; the best of a column is bold, ties included. A number is the mean over seeds \
± their sample standard deviation (sd), which is the scatter over seeds on the same test images; a further table tells \
that over images or samples. Of a single seed it is the value, with its 95 % interval where there is one. \
Seeds are counted as done of all; only those that are done enter a number. Why one with † is doubtful stands below."""

PICTURES = {"samples": "Samples", "reliability": "Reliability diagram", "counterfactuals": "Counterfactuals"}
"""The pictures of a run's folder that are shown side by side, and what they show."""


def write(config: Config, source: str = "folders") -> Path:
    """Write the page and its figures, and return the page; source: folders of runs, or mlflow."""
    folder = Path(config["reports"]).absolute()
    found = rows(config, source)
    outside = [row for row in found if not row.study]
    parts = [f"# Leaderboard\n\nMade by `python -m harness report`; do not edit.\n\n{LEGEND}"]
    for same in sorted({judged(row) for row in outside}):
        section = Section([row for row in outside if judged(row) == same])
        parts.append(section.markdown(folder))
    parts += stability.sections(found, folder)
    page = folder / "LEADERBOARD.md"
    write_text(page, "\n\n".join(parts) + "\n")
    return page


@dataclass(frozen=True)
class Section:
    """The runs of one dataset under one protocol."""

    runs: list[Row]

    @cached_property
    def series(self) -> list[Series]:
        """Its rows: the most robust first, those without a robust score last, and those that are not ranked."""
        names = dict.fromkeys(run.series for run in self.runs)
        seeds = sorted(self.runs, key=lambda run: run.seed)
        found = [Series([run for run in seeds if run.series == name]) for name in names]
        robust = self.first("robust_accuracy")

        def rank(series: Series) -> tuple[bool, bool, float, str, str, str]:
            mean, run = series.mean(robust) if robust else nan, series.runs[0]
            place = 0.0 if isnan(mean) else -mean
            return series.barred, isnan(mean), place, series.label, run.model, run.series

        return sorted(found, key=rank)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """A score of each key, in the order in which the records have them."""
        done = [run.scores for run in self.runs if run.state == "done"]
        return {key: score for scores in done for key, score in scores.items()}

    def first(self, *starts: str) -> str | None:
        """The first score key of the main table that starts so."""
        return next((key for key, score in self.scores.items() if key.startswith(starts) and not score.table), None)

    def tables(self) -> Iterator[Table]:
        """The main table and those of details, then the same of the series that are not ranked."""
        for ranked in (True, False):
            series = [one for one in self.series if one.barred != ranked]
            columns = [Column(key, score, series, ranked) for key, score in self.scores.items()]
            for details in dict.fromkeys(["", *(score.table for score in self.scores.values())]):
                shown = [column for column in columns if column.score.table == details and column.means]
                if shown or (series and not details):
                    yield Table(details, series, shown, ranked)

    def markdown(self, folder: Path) -> str:
        """The section; its figures are written below the folder."""
        name = "-".join(judged(self.runs[0])) + ".png"
        notes = [*daggers(self.series), *(note for series in self.series for note in series.footnotes())]
        parts = [
            "## " + ": ".join(filter(None, [title(self.runs[0]), said(self.runs)])),
            *(table.markdown() for table in self.tables()),
            "\n".join(dict.fromkeys(notes)),
            *(f"![{text}]({path})" for text, path in self.figures(folder, name)),
        ]
        return "\n\n".join(filter(None, parts))

    def figures(self, folder: Path, name: str) -> Iterator[tuple[str, Path]]:
        """The figures that there is something for: what each shows, and its path below the folder."""
        robust, distance = self.first("robust_accuracy"), self.first("fd", "fid")
        if robust and distance and (points := self.points(distance, robust)):
            x, y, path = self.scores[distance], self.scores[robust], Path("figures") / f"tradeoff-{name}"
            tradeoff(folder / path, points, _scale(x), _scale(y), said(self.runs))
            yield f"{y.title} against {x.title}; bars: sd over seeds", path
        for picture, what in PICTURES.items():
            shown = [(series.label, found) for series in self.series if (found := _picture(series, picture))]
            if shown:
                path = Path("figures") / f"{picture}-{name}"
                grids(folder / path, shown)
                yield f"{what} of each method, from its lowest seed that is done", path

    def points(self, x: str, y: str) -> list[Point]:
        """The ranked series that have both scores."""
        both = [one for one in self.series if one.scores(x) and one.scores(y) and not one.barred]
        return [Point(one.label, one.mean(x), one.sd(x), one.mean(y), one.sd(y)) for one in both]


def _scale(score: Score) -> Scale:
    return Scale(score.title + (f" ({score.unit})" if score.unit else ""), score.better)


def _picture(series: Series, name: str) -> Path | None:
    """A picture of the lowest seed that is done; None if it is not there."""
    return series.done[0].file(f"{name}.png") if series.done else None
