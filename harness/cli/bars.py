"""Progress of runs while a command waits: bars for runs in this process, a table for runs in other processes."""

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
from rich.text import Text

from harness.cli.tables import colour, console, relative, status_table
from harness.launch.show import Bars, Show
from harness.launch.status import Jobs, rows, scores, summary
from harness.runs import record
from harness.runs.run import Run

if TYPE_CHECKING:
    from harness.training.loop import Progress as Step


class RateColumn(ProgressColumn):
    """Steps or pieces per second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="progress.data.speed")


class Display(Bars):
    """Progress of runs in this process: a bar on a terminal, elsewhere a line for each phase."""

    def __init__(self, total: int) -> None:
        self.total, self.begun = total, 0
        self.run: Run | None = None
        self.what = ""
        self.progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn(), RateColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[figures]}", markup=False), console=console, transient=True,
        )  # fmt: skip
        self.task = self.progress.add_task("", figures="")

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if console.is_terminal:
            self.progress.stop()

    def training(self, run: Run, stage: str, progress: "Step") -> None:
        """Show a training step."""
        figures = "  ".join(f"{name} {value:.3g}" for name, value in progress.figures.items())
        self._show(run, f"train {stage}", progress.step, progress.steps, figures)

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Show how many pieces of sampling or evaluation are done."""
        self._show(run, what, done, total, words)

    def finished(self, run: Run, result: record.Record) -> None:
        """Show the state and the scores of a run that has its record."""
        line = Text.assemble(run.name, "  ", colour(result.state), "  ", scores(result))
        console.print(line, soft_wrap=True)

    def failed(self, run: Run, reason: str) -> None:
        """Show why a run failed."""
        line = Text.assemble(colour("failed"), f"  {reason}\n  see {relative(run.folder / 'failure.md')}")
        console.print(line, soft_wrap=True)

    def _show(self, run: Run, what: str, done: int, total: int, figures: str) -> None:
        if (run, what) != (self.run, self.what):
            self.begun += run is not self.run
            self.run, self.what = run, what
            at = f"{self.begun}/{self.total}"
            title = f"{at} {run.config.method['name']} s{run.config.seed} {what}"
            self.progress.reset(self.task, description=title, total=total)
            if not console.is_terminal:
                console.print(f"{at} {run.name}  {what}", soft_wrap=True)
        self.progress.update(self.task, completed=done, figures=figures)


class Reporter:
    """States of runs in other processes, read from the disk: a live table, or a line for each change."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
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
        if console.is_terminal:
            status_rows = rows([run.folder for run in self.runs], Jobs())
            self.live.update(status_table(status_rows, summary(status_rows)))
        for run in self.runs:
            if self.seen.get(run.name) != run.state:
                self.seen[run.name] = run.state
                if not console.is_terminal:
                    console.print(Text.assemble(run.name, "  ", colour(run.state)), soft_wrap=True)


class Terminal(Show):
    """Show runs on the terminal that the command was typed in."""

    def bars(self, runs: int) -> Display:
        """Return bars for this number of runs in this process."""
        return Display(runs)

    @contextmanager
    def states(self, runs: list[Run]) -> Iterator[Callable[[], None]]:
        """Show a table of runs in other processes; yield a function that reads the disk again."""
        with Reporter(runs) as reporter:
            yield reporter.refresh

    def line(self, text: str) -> None:
        """Print a line of text."""
        console.print(text, markup=False, soft_wrap=True)
