"""Progress of runs while a command waits: bars for runs in this process, a table for runs in other processes.

Where the output is no terminal, it is a line for each phase or state, and one a minute for each run (launch/show.py).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from harness.cli.tables import WIDE, colour, console, relative, status_table
from harness.launch.show import MINUTE, Bars, Clock, Lines, Show, figures_text, progress_line, rate_text
from harness.launch.status import Jobs, rows, scores, stages, summary
from harness.runs import record
from harness.runs.run import Run

if TYPE_CHECKING:
    from harness.training.loop import Progress as Step


class RateColumn(ProgressColumn):
    """Steps or pieces per second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text(rate_text(task.speed), style="progress.data.speed")


class FiguresColumn(ProgressColumn):
    """What is cut where it does not fit: the last figures of training; the name of an attack comes first."""

    def render(self, task: Task) -> Text:
        """The figures of the last step, or what an evaluation says."""
        return Text(task.fields["figures"], no_wrap=True, overflow="ellipsis")


class Display(Bars):
    """A bar on a terminal for runs in this process."""

    def __init__(self, total: int) -> None:
        self.total, self.begun = total, 0
        self.run: Run | None = None
        self.what = ""
        # Where the line is too long, the figures at its end are cut.
        self.progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(20 if console.width >= WIDE else 10, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            RateColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            FiguresColumn(),
            console=console,
            transient=True,
        )
        self.task = self.progress.add_task("", figures="")

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()

    def training(self, run: Run, stage: str, progress: "Step") -> None:
        """Show a training step."""
        self._show(run, f"train {stage}", progress.step, progress.steps, figures_text(progress.figures))

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Show how many pieces of sampling or evaluation are done."""
        self._show(run, what, done, total, words)

    def finished(self, run: Run, result: record.Record) -> None:
        """Show the state and the first scores of a run that has its record."""
        console.print(Text.assemble(run.name, "  ", colour(result.state), "  ", scores(result, 3)))

    def failed(self, run: Run, reason: str) -> None:
        """Show why a run failed."""
        line = Text.assemble(colour("failed"), f"  {reason}\n  see {relative(run.folder / 'failure.md')}")
        console.print(line, soft_wrap=True)

    def _show(self, run: Run, what: str, done: int, total: int, figures: str) -> None:
        if (run, what) != (self.run, self.what):
            self.begun += run is not self.run
            self.run, self.what = run, what
            title = f"{self.begun}/{self.total} {run.config.method['name']} s{run.config.seed} {what}"
            self.progress.reset(self.task, description=title, total=total)
        self.progress.update(self.task, completed=done, figures=figures)


class Reporter:
    """States of runs in other processes, read from the disk: a live table, or lines for changes and each minute."""

    def __init__(self, runs: list[Run], clock: Clock = time.monotonic) -> None:
        self.runs, self.clock, self.told_at = runs, clock, clock()
        self.seen: dict[str, str] = {}
        self.live = Live(console=console, transient=True, refresh_per_second=2)

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.refresh()
        self.live.stop()

    def refresh(self) -> None:
        """Read the disk again."""
        if console.is_terminal or self.clock() - self.told_at >= MINUTE:
            self.told_at = self.clock()
            status_rows, shared = rows([run.folder for run in self.runs], Jobs()), stages(self.runs[0].root, Jobs())
            if console.is_terminal:
                self.live.update(status_table([*shared, *status_rows], summary(status_rows)))
            else:
                for row in (row for row in (*shared, *status_rows) if row.state == "running"):
                    console.print(progress_line(row.name, row.progress, rate=row.rate, left=row.left), soft_wrap=True)
        for run in self.runs:
            if self.seen.get(run.name) != run.state:
                self.seen[run.name] = run.state
                if not console.is_terminal:
                    console.print(Text.assemble(run.name, "  ", colour(run.state)), soft_wrap=True)


class Terminal(Show):
    """Show runs on the terminal that the command was typed in."""

    def bars(self, runs: int) -> Bars:
        """Return what shows the progress of this number of runs in this process."""
        return Display(runs) if console.is_terminal else Lines(runs, self.line)

    @contextmanager
    def states(self, runs: list[Run]) -> Iterator[Callable[[], None]]:
        """Show a table of runs in other processes; yield a function that reads the disk again."""
        with Reporter(runs) as reporter:
            yield reporter.refresh

    def line(self, text: str) -> None:
        """Print a line of text."""
        console.print(text, markup=False, soft_wrap=True)
