"""Tables of runs, and the console that they are printed on."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from harness.core.text import one_line, visible
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


def colour(of: RowState) -> Text:
    """Return a state in its colour."""
    return Text(of, COLOURS[of])


def runs_table(runs: list[Run]) -> Table:
    """Table of the runs of a command before it begins."""
    table = Table("run", "method", "data", "net", "seed", "state", "folder", title=f"{len(runs)} runs")
    for run in runs:
        config, folder = run.config, relative(run.folder)
        method = ", ".join(filter(None, [config.method["name"], config.shown_budget]))
        row = (run.fingerprint[:8], method, config.data["name"], config.model["name"], str(config.seed))
        table.add_row(*row, colour(run.state), folder)
    return table


def status_table(rows: Sequence[StatusRow], title: str) -> Table:
    """Table of the progress of runs, one row each."""
    table = Table("run", "state", "progress", "left", "job", "last error", title=title)
    for row in rows:
        left = "" if row.left is None else duration(row.left)
        table.add_row(one_line(row.name), colour(row.state), *map(one_line, (row.progress, left, row.job, row.error)))
    return table


def scores_table(runs: list[Run]) -> Table:
    """Table of the scores of runs at the end of a command, without those of further tables of the leaderboard."""
    records = {
        run.name: record.read(run.folder / "record.json") for run in runs if (run.folder / "record.json").exists()
    }
    main_scores = [item for result in records.values() for item in result.scores.items() if not item[1].table]
    titles = {key: score.title for key, score in main_scores}
    labels = dict.fromkeys(result.protocol.label for result in records.values() if result.protocol.label)
    table = Table(Column("run", no_wrap=True), "state", *titles.values(), title=": ".join(["Scores", *labels]))
    for run in runs:
        result = records.get(run.name)
        scores = result.scores if result else {}
        cells = [f"{scores[key].value:.2f}{scores[key].unit}" if key in scores else "–" for key in titles]
        table.add_row(run.name, colour(run.state), *cells)
    return table


def tell(faults: Iterable[Fault]) -> int:
    """Print a line on stderr for each thing that cannot be read; return the exit status: 3 if there is one, else 0."""
    lines = [str(fault) for fault in faults]
    for line in lines:
        print(line, file=sys.stderr)
    return 3 if lines else 0


def relative(path: Path) -> str:
    """Return a path relative to the working folder if it is below it, else unchanged."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
