"""LEADERBOARD.md: a table for each dataset and protocol, never two in one, then a section for each study."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from pathlib import Path

import pandas as pd

from harness import tracking
from harness.files import write_text
from harness.record import Score
from harness.reports import stability
from harness.reports.figures import Point, Scale, grids, tradeoff
from harness.reports.series import JUDGED, Row, Series
from harness.runs import Config

LEGEND = """\
↑ higher is better, ↓ lower is better; the best of a column is bold, ties included. A number is the mean over seeds \
± their sample standard deviation (sd); of a single seed it is the value, with its 95 % interval where there is one. \
Seeds are counted as done of all; only those that are done enter a number."""


def write(config: Config) -> Path:
    """Write the page and its figures from what MLflow holds, and return the page."""
    folder = Path(config["reports"]).absolute()
    rows = tracking.results(config).to_dict("records")
    ranked = [row for row in rows if not row["study"]]
    parts = [f"# Leaderboard\n\nMade by `{config['command']}` from the tracked runs; do not edit.\n\n{LEGEND}"]
    for judged in sorted({tuple(str(row[key]) for key in JUDGED) for row in ranked}):
        section = Section([row for row in ranked if tuple(row[key] for key in JUDGED) == judged])
        parts.append(section.markdown(folder))
    parts += stability.sections(rows, folder)
    page = folder / "LEADERBOARD.md"
    write_text(page, "\n\n".join(parts) + "\n")
    return page


@dataclass(frozen=True)
class Column:
    """One score of all series of a section; `score` is any of them, for title, unit and direction."""

    key: str
    score: Score
    series: list[Series]

    @property
    def header(self) -> str:
        """Its name, direction and unit."""
        arrow = "↑" if self.score.better == "higher" else "↓"
        return " ".join(filter(None, [self.score.title, arrow, self.score.unit]))

    @cached_property
    def means(self) -> list[float]:
        """The means of the series that have one."""
        return [mean for series in self.series if not isnan(mean := series.mean(self.key))]

    @cached_property
    def digits(self) -> int:
        """Decimals: 1 for %, else so many that three figures of the largest are seen."""
        largest = max(map(abs, self.means))
        return 1 if self.score.unit == "%" or largest >= 100 else 2 if largest >= 1 else 3

    @cached_property
    def best(self) -> str:
        """The best mean, as it is shown."""
        return f"{(max if self.score.better == 'higher' else min)(self.means):.{self.digits}f}"

    @property
    def count(self) -> str:
        """What it counts over."""
        found = sorted({score.n for series in self.series for score in series.scores(self.key)})
        return f"{self.score.title} n = {' or '.join(map(str, found))}"

    def cell(self, series: Series) -> str:
        """The number of a series, as it is shown."""
        scores, digits = series.scores(self.key), self.digits
        if not scores:
            return "–"
        mean = text = f"{series.mean(self.key):.{digits}f}"
        low, high = scores[0].low, scores[0].high
        if len(scores) > 1:
            text += f" ± {series.sd(self.key):.{digits}f}"
        elif low is not None and high is not None:
            text += f" [{low:.{digits}f}, {high:.{digits}f}]"
        text = f"**{text}**" if mean == self.best else text
        return f"{text} †" if any(score.warnings for score in scores) else text


@dataclass(frozen=True)
class Section:
    """The runs of one dataset under one protocol."""

    runs: list[Row]

    @cached_property
    def series(self) -> list[Series]:
        """Its rows: the most robust first, those without a robust score last."""
        names = dict.fromkeys(run["series"] for run in self.runs)
        seeds = sorted(self.runs, key=lambda run: run["seed"])
        found = [Series([run for run in seeds if run["series"] == name]) for name in names]
        robust = self.first("robust_accuracy")

        def rank(series: Series) -> tuple[bool, float, str, str, str]:
            mean, run = series.mean(robust) if robust else nan, series.runs[0]
            return isnan(mean), 0.0 if isnan(mean) else -mean, series.label, run["model"], run["series"]

        return sorted(found, key=rank)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """A score of each key, in the order in which the records have them."""
        done = [run["scores"] for run in self.runs if run["state"] == "done"]
        return {key: score for scores in done for key, score in scores.items()}

    @cached_property
    def columns(self) -> list[Column]:
        """A column for each score."""
        return [Column(key, score, self.series) for key, score in self.scores.items()]

    def first(self, *starts: str) -> str | None:
        """The first score key that starts so."""
        return next((key for key in self.scores if key.startswith(starts)), None)

    def markdown(self, folder: Path) -> str:
        """The section; its figures are written below the folder."""
        data, protocol, digest = (self.runs[0][key] for key in JUDGED)
        parts = [
            f"## {data}, protocol {protocol} (hash {digest})",
            self.table().to_markdown(index=False, disable_numparse=True),
            f"Counts: {'; '.join(column.count for column in self.columns) or 'none yet'}. The sd is over seeds.",
            "\n".join(dict.fromkeys(note for series in self.series for note in series.footnotes())),
            *(f"![{text}]({path})" for text, path in self.figures(folder, f"{data}-{protocol}-{digest}.png")),
        ]
        return "\n\n".join(filter(None, parts))

    def table(self) -> pd.DataFrame:
        """The table, a row for each series."""
        scores = [column.header for column in self.columns]
        headers = ["method", "net", *scores, "train time", "seeds", "state"]
        return pd.DataFrame([self.row(series) for series in self.series], columns=pd.Index(headers))

    def row(self, series: Series) -> list[str]:
        """The row of a series."""
        method, net = series.label.replace("|", "\\|"), series.runs[0]["model"]
        cells = [column.cell(series) for column in self.columns]
        return [method, net, *cells, series.time, series.seeds, series.state]

    def figures(self, folder: Path, name: str) -> Iterator[tuple[str, Path]]:
        """The figures that there is something for: what each shows, and its path below the folder."""
        robust, distance = self.first("robust_accuracy"), self.first("fd", "fid")
        if robust and distance and (points := self.points(distance, robust)):
            x, y = self.scores[distance], self.scores[robust]
            tradeoff(folder / "figures" / f"tradeoff-{name}", points, _scale(x), _scale(y))
            yield f"{y.title} against {x.title}; bars: sd over seeds", Path("figures") / f"tradeoff-{name}"
        grid = [(series.label, picture) for series in self.series if (picture := _picture(series))]
        if grid:
            grids(folder / "figures" / f"samples-{name}", grid)
            yield "Samples of each method, from its lowest seed that is done", Path("figures") / f"samples-{name}"

    def points(self, x: str, y: str) -> list[Point]:
        """The series that have both scores."""
        both = [series for series in self.series if series.scores(x) and series.scores(y)]
        return [Point(one.label, one.mean(x), one.sd(x), one.mean(y), one.sd(y)) for one in both]


def _scale(score: Score) -> Scale:
    return Scale(score.title + (f" ({score.unit})" if score.unit else ""), score.better)


def _picture(series: Series) -> Path | None:
    """The sample grid of the lowest seed that is done; None if it is not there."""
    path = Path(series.done[0]["folder"]) / "samples.png" if series.done else None
    return path if path and path.exists() else None
