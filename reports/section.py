"""A section of the leaderboard: the series, tables and footnotes of one dataset under one protocol."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, isnan, nan

from harness.core.text import counted
from harness.evaluation.score import ANCHOR, CLASSWISE, Score
from harness.reports.columns import NET, NONE, STATES, Column, Measured, costs
from harness.reports.series import Series, daggers, page_name, said, title
from harness.reports.significance import Comparison, note
from harness.reports.tables import DOUBT, FRONT, Cell, Table
from harness.runs.row import Row
from harness.runs.spent import TARGETS

BARRED = "Not ranked"
MAIN = ("", BARRED)
"""Titles of the main table, and of the main table of series that are not ranked."""

INTERVALS = "95 % intervals of a run, over images or samples: mean bounds of the seeds"
COSTS = "Cost of a run: training, its peak memory and its evaluation; means over seeds"
COST_NOTES = {
    "training FLOP": "FLOP: of convolutions, matrix products and attention in all steps of training, where an addition "
    "counts as one, like a product.",
    "steps to": f"Steps and hours to an accuracy: until it was first measured on validation images; of "
    f"{', '.join(map(str, TARGETS))} % it is the highest that all runs reached.",
}
"""What a reader needs to know of columns of the cost, by the beginning of their headers."""


@dataclass(frozen=True)
class Section:
    """The runs of one dataset under one protocol; none of them is in a study."""

    runs: list[Row]

    @property
    def name(self) -> str:
        """Stem of the names of its files."""
        return page_name(self.runs[0])

    @property
    def heading(self) -> str:
        """Dataset and protocol, and the remark on the numbers, if any."""
        return ": ".join(filter(None, [title(self.runs[0]), said(self.runs)]))

    @cached_property
    def series(self) -> list[Series]:
        """The series: most robust first, then those without a robust score, then those that are not ranked."""
        repeats: dict[str, list[Row]] = defaultdict(list)
        for run in sorted(self.runs, key=lambda run: run.seed):
            repeats[run.series].append(run)
        robust = self.first("robust_accuracy")

        def rank(series: Series) -> tuple[bool, bool, float, str, str, str, str]:
            mean, run = series.mean(robust) if robust else nan, series.runs[0]
            place = 0.0 if isnan(mean) else -mean
            return series.barred, isnan(mean), place, run.method, run.overrides, run.model, run.series

        return sorted(map(Series, repeats.values()), key=rank)

    @cached_property
    def labels(self) -> dict[str, str]:
        """A label of its own for each series, by its key: the net and the key are added where labels are equal."""
        labels = Counter(series.label for series in self.series)
        nets = Counter((series.label, series.runs[0].model) for series in self.series)
        unique: dict[str, str] = {}
        for series in self.series:
            net = series.runs[0].model
            further = [net, series.key][: nets[series.label, net]] if labels[series.label] > 1 else []
            unique[series.key] = ", ".join([series.label, *further])
        return unique

    @cached_property
    def scores(self) -> dict[str, Score]:
        """One score for each key, in the order of the records; without those of anchors."""
        return {key: score for key, score in self._all_scores if not score.table.startswith(ANCHOR)}

    @cached_property
    def anchors(self) -> dict[str, dict[str, Score]]:
        """The scores of each anchor by its label, and by the key that runs have them under."""
        found: dict[str, dict[str, Score]] = defaultdict(dict)
        for key, score in self._all_scores:
            if score.table.startswith(ANCHOR):
                found[score.table.removeprefix(ANCHOR)][key.split("/", 2)[-1]] = score
        return found

    @property
    def _all_scores(self) -> list[tuple[str, Score]]:
        return [item for run in self.runs if run.state == "done" for item in run.scores.items()]

    def first(self, *starts: str) -> str | None:
        """Return the first key of the main table's scores that begins with one of these; None if there is none."""
        return next((key for key, score in self.scores.items() if key.startswith(starts) and not score.table), None)

    @cached_property
    def front(self) -> set[str]:
        """Pareto front: keys of ranked series that no other beats in robust accuracy and distance at once."""
        robust, distance = self.first("robust_accuracy"), self.first("fd", "fid")
        if not robust or not distance:
            return set()
        both = [series for series in self.whole if series.scores(robust) and series.scores(distance)]
        return front({series.key: (-series.mean(robust), series.mean(distance)) for series in both})

    @cached_property
    def ranked(self) -> list[Series]:
        """The series that are ranked."""
        return [one for one in self.series if not one.barred]

    @property
    def whole(self) -> list[Series]:
        """Those of them that both classify and generate, be it not for a given class: the others are never the best."""
        return [one for one in self.ranked if all(key.startswith(CLASSWISE) for key in one.not_given)]

    @cached_property
    def comparisons(self) -> dict[str, Comparison]:
        """For each score, by its key, the tests of all pairs of ranked series that have it."""
        having = {key: [one for one in self.whole if one.scores(key)] for key in self.scores}
        return {key: Comparison(key, self.scores[key], having[key]) for key in self.scores}

    @cached_property
    def tables(self) -> list[Table]:
        """The tables of scores, of the ranked series, then of the others."""
        return [*self._tables(True), *self._tables(False)]

    def main(self) -> list[Table]:
        """Return the main table, and that of the series that are not ranked, if there are any."""
        return [table for table in self.tables if table.title in MAIN]

    def paper(self, keys: Sequence[str] = (), methods: Sequence[str] = ()) -> Table:
        """Return the table for a paper: the ranked series all of whose seeds are done.

        keys: the scores, in this order; by default those of the main table. methods: the names of methods, in this
        order; by default all. Which numbers are bold is decided among all ranked series, as in the main table.
        """
        finished = [one for one in self.ranked if one.finished]
        if methods:
            chosen = [one for one in finished if one.runs[0].method in methods]
            finished = sorted(chosen, key=lambda one: methods.index(one.runs[0].method))
        # Of the scores of the main table, only those that a row has.
        wanted = keys or [key for key, score in self.scores.items() if not score.table]
        columns = [Measured(key, self.scores[key], finished, self.comparisons[key].bold) for key in wanted]
        valued = [column for column in columns if column.means]
        nets = [NET] if len({one.runs[0].model for one in finished}) > 1 else []
        # Say below the table what its numbers are.
        seeds = " or ".join(map(str, sorted({len(one.done) for one in finished})))
        notes = [f"Seeds of a method: {seeds}.", self._note(valued, ranked=True)]
        if len(finished) < len(self.ranked) and any(self.comparisons[column.key].tests for column in valued):
            notes.append(f"These tests are among all {len(self.ranked)} ranked methods of the leaderboard.")
        notes += [f"{line}." for line in daggers(finished, wanted)]
        return _table(self.heading, finished, [*nets, *(columns if keys else valued)], " ".join(notes))

    def details(self) -> list[Table]:
        """Return the tables of intervals over images, further scores, and cost."""
        columns = costs(self.series)
        headers = " ".join(column.header for column in columns)
        notes = " ".join(note for beginning, note in COST_NOTES.items() if beginning in headers)
        cost = [_table(COSTS, self.series, [NET, *columns], notes)] if columns else []
        return [*(table for table in self.tables if table.title not in MAIN), *cost]

    def daggers(self) -> list[str]:
        """Return the reasons why numbers are doubtful."""
        return list(daggers(self.series))

    def footnotes(self) -> list[str]:
        """Return notes on the end of runs, on choices and their criteria, and on deviations from published settings."""
        notes = dict.fromkeys(note for series in self.series for note in series.footnotes())
        over = [run for run in self.runs if run.state == "done"]
        unknown = sum(not run.code for run in over)
        share = f"{unknown} of {counted(len(over), 'run')}"
        return [
            *notes,
            *([f"The code of {share} is unknown: it was not recorded"] if unknown else []),
        ]

    def _tables(self, ranked: bool) -> Iterator[Table]:
        series = [one for one in self.series if one.barred != ranked]
        bold = {key: comparison.bold if ranked else () for key, comparison in self.comparisons.items()}
        columns = [Measured(key, score, series, bold[key]) for key, score in self.scores.items()]
        columns = [column for column in columns if column.means]
        further = "" if ranked else ", not ranked"
        if series:
            selected = [column for column in columns if not column.score.table]
            table = _table(
                MAIN[not ranked], series, [NET, *selected, *STATES], self._note(selected, ranked), self.front
            )
            table.rows.extend(_anchor_rows(self.anchors, selected, len(STATES)) if ranked else [])
            yield table
            yield from _intervals(series, selected, further)
        for details in dict.fromkeys(column.score.table for column in columns if column.score.table):
            selected = [column for column in columns if column.score.table == details]
            yield _table(details + further, series, [NET, *selected], self._note(selected, ranked))

    def _note(self, columns: list[Measured], ranked: bool) -> str:
        """What the numbers of a table are counted on, and what its bold ones are."""
        bold = note([self.comparisons[column.key] for column in columns]) if ranked and columns else ""
        return " ".join(filter(None, [_counts(columns), bold]))


def front(points: dict[str, tuple[float, float]]) -> set[str]:
    """Return the names of the points on the Pareto front, where lower is better in both coordinates."""
    names: set[str] = set()
    last = inf, inf
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        if point[1] < last[1] or point == last:
            names.add(name)
            last = point
    return names


def _table(
    title: str, series: list[Series], columns: Iterable[Column | Measured], note: str = "", front: Iterable[str] = ()
) -> Table:
    columns = list(columns)
    marks = [FRONT if one.key in front else DOUBT if one.doubtful else "" for one in series]
    names = [Cell(one.label, marks=mark, cite=one.cite) for one, mark in zip(series, marks, strict=True)]
    rows = [[name, *(column.cell(one) for column in columns)] for name, one in zip(names, series, strict=True)]
    return Table(title, ["method", *(column.header for column in columns)], rows, note, series)


def _anchor_rows(anchors: dict[str, dict[str, Score]], columns: list[Measured], after: int) -> Iterator[list[Cell]]:
    """A row for each anchor, below those of the series; `after` cells follow those of the scores."""
    for label, scores in anchors.items():
        cells = [
            Cell(f"{score.value:.{column.digits}f}", score.value) if (score := scores.get(column.key)) else NONE
            for column in columns
        ]
        yield [Cell(label), NONE, *cells, *[NONE] * after]


def _intervals(series: list[Series], columns: list[Measured], further: str) -> Iterator[Table]:
    """Table of intervals over images or samples, for series whose main table shows the sd over seeds instead."""
    several = [one for one in series if len(one.done) > 1]
    visible = [column for column in columns if any(column.interval(one) for one in several)]
    if visible:
        cells = [Column(column.header, lambda one, col=column: Cell(col.interval(one) or "–")) for column in visible]
        yield _table(INTERVALS + further, several, cells)


def _counts(columns: list[Measured]) -> str:
    """Note on the number of images or samples behind the columns."""
    titles: dict[str, list[str]] = defaultdict(list)
    for column in columns:
        titles[column.count].append(column.score.title)
    counts = [f"n = {n}" + (f" for {' · '.join(names)}" if len(titles) > 1 else "") for n, names in titles.items()]
    return f"Counts: {'; '.join(counts) or 'none yet'}. The sd is over seeds."
