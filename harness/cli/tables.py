"""Tables of runs, and the console that they are printed on."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from harness.core.text import counted, one_line, visible
from harness.evaluation.score import Score
from harness.launch.status import RowState, StatusRow, duration
from harness.runs import record
from harness.runs.folder import Fault
from harness.runs.run import Run


class PlainConsole(Console):
    """A console that shows texts as they are: none is markup, and control characters act on nothing."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render something; all that is printed comes by here."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


console = PlainConsole()
if not console.is_terminal:
    console.width = 160  # lines of a log file need not fit a screen

COLOURS: dict[RowState, str] = {
    "new": "dim", "queued": "dim", "running": "cyan", "interrupted": "yellow",
    "done": "green", "diverged": "magenta", "collapsed": "magenta", "failed": "red", "skipped": "dim",
    "unreadable": "red",
}  # fmt: skip


WIDE = 120
"""Columns of a terminal on which all columns of a table of states fit."""


def colour(of: RowState) -> Text:
    """Return a state in its colour."""
    return Text(of, COLOURS[of])


def keep_names(column: Column, names: Sequence[str]) -> None:
    """Keep the names of a column in one line, unless they are longer than half a line of the terminal."""
    column.no_wrap = max(map(len, names), default=0) <= console.width // 2


def runs_table(runs: list[Run]) -> Table:
    """Table of the runs of a command before it begins; on a narrow terminal the name alone tells data and seed."""
    wide = console.width >= WIDE
    title = f"{counted(len(runs), 'run')} in {relative(runs[0].root)}/" if runs else "0 runs"
    table = Table(*_whole("run", "method", *(("data", "net", "seed") if wide else ("net",)), "state"), title=title)
    keep_names(table.columns[0], [run.name for run in runs])
    for run in runs:
        config = run.config
        method = ", ".join(filter(None, [config.method["name"], config.shown_budget]))
        data, seed = ([config.data["name"]], [str(config.seed)]) if wide else ([], [])
        table.add_row(run.name, method, *data, config.model["name"], *seed, colour(run.state))
    return table


def status_table(rows: Sequence[StatusRow], title: str) -> Table:
    """Table of the progress of runs, one row each; on a narrow terminal one column tells all but name and state."""
    wide, names = console.width >= WIDE, [one_line(row.name) for row in rows]
    run, *others = _whole("run", "state", "progress", *(("left", "job", "last error") if wide else ()))
    keep_names(run, names)
    table = Table(run, *others, title=title)
    for name, row in zip(names, rows, strict=True):
        left = "" if row.left is None else duration(row.left)
        told = list(map(one_line, (row.progress, left if wide else left and f"{left} left", row.job, row.error)))
        table.add_row(name, colour(row.state), *(told if wide else ["\n".join(filter(None, told))]))
    return table


def _whole(*headers: str) -> list[Column]:
    """Columns whose texts take several lines where they do not fit, instead of being cut."""
    return [Column(header, overflow="fold") for header in headers]


def scores_table(runs: list[Run]) -> Table:
    """Table of the scores of runs at the end of a command, without those of further tables of the leaderboard.

    Of one run they are rows, with intervals and counts; of several they are columns.
    """
    records = {
        run.name: record.read(run.folder / "record.json") for run in runs if (run.folder / "record.json").exists()
    }
    main_scores = [item for result in records.values() for item in result.scores.items() if not item[1].table]
    titles = {key: score.title for key, score in main_scores}
    labels = dict.fromkeys(result.protocol.label for result in records.values() if result.protocol.label)
    if len(runs) == 1 and main_scores:
        title = ": ".join([f"Scores of {runs[0].name}", *labels])
        table = Table("score", "value", "95 % interval", "n", title=title)
        for _, score in main_scores:
            bounds = None not in (score.low, score.high)
            interval = f"{score.low:.2f} to {score.high:.2f}" if bounds else "–"
            table.add_row(score.title, _value(score), interval, f"{score.n:,}")
        return table
    table = Table(Column("run", no_wrap=True), "state", *titles.values())
    table.title = ": ".join(["Scores", *labels])
    for run in runs:
        result = records.get(run.name)
        scores = result.scores if result else {}
        table.add_row(run.name, colour(run.state), *(_value(scores[key]) if key in scores else "–" for key in titles))
    if Measurement.get(console, console.options.update(width=10_000), table).minimum <= console.width:
        return table
    # There are more columns than fit: the scores of a run share one.
    narrow = Table(*_whole("run", "state", "scores"), title=table.title)
    narrow.columns[0].no_wrap = True
    for run in runs:
        result = records.get(run.name)
        scores = result.scores if result else {}
        shown = [f"{titles[key]} {_value(scores[key])}" for key in titles if key in scores]
        narrow.add_row(run.name, colour(run.state), "\n".join(shown))
    return narrow


def _value(score: Score) -> str:
    return f"{score.value:.2f}{score.unit}"


def tell(faults: Iterable[Fault]) -> int:
    """Print a line on stderr for each thing that cannot be read; return the exit status: 3 if there is one, else 0."""
    lines = [str(fault) for fault in faults]
    for line in lines:
        print(line, file=sys.stderr)
    return 3 if lines else 0


def relative(path: Path) -> str:
    """Return a path relative to the working folder if it is below it, else unchanged."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
