"""The tables of the leaderboard: a row for each series, a column for each score."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from statistics import fmean

import pandas as pd

from harness.record import Score
from harness.reports.series import Series

BARRED = "Not ranked: tuned on the test split"
INTERVALS = "95 % intervals of a run, over images or samples: mean bounds of the seeds"


@dataclass(frozen=True)
class Column:
    """One score of all series of a table; `score` is any of them, for title, unit and direction."""

    key: str
    score: Score
    series: list[Series]
    ranked: bool

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
        """The best mean, as it is shown; nothing where there is no ranking."""
        best = (max if self.score.better == "higher" else min)(self.means)
        return f"{best:.{self.digits}f}" if self.ranked else ""

    @property
    def count(self) -> str:
        """What it counts over."""
        found = sorted({score.n for series in self.series for score in series.scores(self.key)})
        return " or ".join(map(str, found))

    def cell(self, series: Series) -> str:
        """The number of a series, as it is shown."""
        scores, digits = series.scores(self.key), self.digits
        if not scores:
            return "–"
        mean = text = f"{series.mean(self.key):.{digits}f}"
        if len(scores) > 1:
            text += f" ± {series.sd(self.key):.{digits}f}"
        elif bounds := self.interval(series):
            text += f" {bounds}"
        text = f"**{text}**" if mean == self.best else text
        return f"{text} †" if any(score.warnings for score in scores) else text

    def interval(self, series: Series) -> str:
        """The mean bounds of its seeds' own intervals, as they are shown; empty where there are none."""
        lows = [score.low for score in series.scores(self.key) if score.low is not None]
        highs = [score.high for score in series.scores(self.key) if score.high is not None]
        return f"[{fmean(lows):.{self.digits}f}, {fmean(highs):.{self.digits}f}]" if lows and highs else ""


@dataclass(frozen=True)
class Table:
    """The scores of one table, a row for each series; `details` is its title, empty for the main one."""

    details: str
    series: list[Series]
    columns: list[Column]
    ranked: bool

    def markdown(self) -> str:
        """The table, below its title and above what its numbers count over."""
        title = self.details if self.ranked else f"{self.details}, not ranked" if self.details else BARRED
        parts = [title and f"**{title}**", self.frame().to_markdown(index=False, disable_numparse=True), self.counts()]
        return "\n\n".join(filter(None, [*parts, self.intervals()]))

    def intervals(self) -> str:
        """Below the main table, how far other images or samples would move its numbers, where seeds hide that."""
        several = [series for series in self.series if len(series.done) > 1]
        shown = [column for column in self.columns if any(column.interval(series) for series in several)]
        if self.details or not shown:
            return ""
        cells = [[column.interval(series) or "–" for column in shown] for series in several]
        rows = [[series.label.replace("|", "\\|"), *row] for series, row in zip(several, cells, strict=True)]
        frame = pd.DataFrame(rows, columns=pd.Index(["method", *(column.header for column in shown)]))
        return f"**{INTERVALS}**\n\n{frame.to_markdown(index=False, disable_numparse=True)}"

    def frame(self) -> pd.DataFrame:
        """Its cells; what the runs took and what became of them stands in the main table alone."""
        scores = [column.header for column in self.columns]
        headers = ["method", "net", *scores, *([] if self.details else ["train time", "seeds", "state"])]
        return pd.DataFrame([self.row(series) for series in self.series], columns=pd.Index(headers))

    def row(self, series: Series) -> list[str]:
        """The row of a series."""
        method, net = series.label.replace("|", "\\|"), series.runs[0].model
        cells = [column.cell(series) for column in self.columns]
        return [method, net, *cells, *([] if self.details else [series.time, series.seeds, series.state])]

    def counts(self) -> str:
        """What its numbers count over."""
        titles: dict[str, list[str]] = defaultdict(list)
        for column in self.columns:
            titles[column.count].append(column.score.title)
        counts = [f"n = {n}" + (f" for {' · '.join(of)}" if len(titles) > 1 else "") for n, of in titles.items()]
        return f"Counts: {'; '.join(counts) or 'none yet'}. The sd is over seeds."
