"""What a person sees: tables of runs, and progress while they go on."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
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
from rich.table import Column, Table
from rich.text import Text

from harness.launch.status import Jobs, Row, RowState, duration, rows, scores, summary
from harness.runs import record
from harness.runs.run import Run

if TYPE_CHECKING:
    from harness.cost.price import Price
    from harness.training.loop import Progress as Step

console = Console(highlight=False)
if not console.is_terminal:
    console.width = 160  # a log file's lines need not fit a screen

COLOURS: dict[RowState, str] = {
    "new": "dim", "queued": "dim", "running": "cyan", "interrupted": "yellow",
    "done": "green", "diverged": "magenta", "failed": "red", "skipped": "dim",
    "unreadable": "red",
}  # fmt: skip


def coloured(of: RowState) -> str:
    """A state in its colour."""
    return f"[{COLOURS[of]}]{of}[/]"


def runs_table(runs: list[Run]) -> Table:
    """The runs of a command before it begins."""
    table = Table("run", "method", "data", "net", "seed", "state", "folder", title=f"{len(runs)} runs")
    for run in runs:
        c, shown = run.config, _relative(run.folder)
        row = (run.fingerprint[:8], c["method"]["name"], c["data"]["name"], c["model"]["name"], str(c["seed"]))
        table.add_row(*row, coloured(run.state), shown)
    return table


def stages_table(prices: "Sequence[Price]") -> Table:
    """The stages that runs need, each once, how many of them share it, and what a step of it takes."""
    uses = Counter(training.fingerprint for price in prices for training in price.run.trainings)
    table = Table("stage", "steps", "images", "a step takes", "used by", "state", "folder")
    table.title = f"{len(uses)} stages to train"
    for price in prices:
        for training in price.run.trainings:
            if n := uses.pop(training.fingerprint, 0):
                how = training.stage.training
                steps = how.steps(price.run.data.length("train"))
                done = "[green]done[/]" if training.done else "[dim]to do[/]"
                row = (training.name, f"{steps:,}", f"{steps * how.batch:,}", str(price.pace(training) or "unknown"))
                table.add_row(*row, f"{n} run{'s' * (n > 1)}", done, _relative(training.folder))
    return table


def status_table(rows: Sequence[Row], title: str) -> Table:
    """How runs get on, a row each."""
    table = Table("run", "state", "progress", "left", "job", "last error", title=title)
    for row in rows:
        left = "" if row.left is None else duration(row.left)
        table.add_row(row.name, coloured(row.state), *map(Text, (row.progress, left, row.job, row.error)))
    return table


def scores_table(runs: list[Run]) -> Table:
    """The scores of runs at the end of a command, without the details that further tables of the leaderboard hold."""
    records = {
        run.name: record.read(run.folder / "record.json") for run in runs if (run.folder / "record.json").exists()
    }
    shown = [item for found in records.values() for item in found.scores.items() if not item[1].table]
    titles = {key: score.title for key, score in shown}
    labels = dict.fromkeys(found.protocol.label for found in records.values() if found.protocol.label)
    table = Table(Column("run", no_wrap=True), "state", *titles.values(), title=": ".join(["Scores", *labels]))
    for run in runs:
        found = records.get(run.name)
        scores = found.scores if found else {}
        cells = [f"{scores[key].value:.2f}{scores[key].unit}" if key in scores else "–" for key in titles]
        table.add_row(run.name, coloured(run.state), *cells)
    return table


class RateColumn(ProgressColumn):
    """Steps or pieces per second."""

    def render(self, task: Task) -> Text:
        """The rate, once there is one."""
        return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="progress.data.speed")


class Display:
    """Progress of runs in this process: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.begun = total, 0
        self.run: Run | None = None
        self.what = ""
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"), console=console, transient=True,
        )  # fmt: skip
        self.task = self.progress.add_task("", figures="")

    def __enter__(self) -> Self:
        if console.is_terminal:
            self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()

    def training(self, run: Run, stage: str, progress: "Step") -> None:
        """A training step was taken."""
        figures = "  ".join(f"{name} {value:.3g}" for name, value in progress.figures.items())
        self._show(run, f"train {stage}", progress.step, progress.steps, figures)

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some pieces of sampling or evaluation are done."""
        self._show(run, what, done, total, words)

    def finished(self, run: Run, result: record.Record) -> None:
        """A run has its record."""
        console.print(f"{run.name}  {coloured(result.state)}  {scores(result.model_dump())}", soft_wrap=True)

    def failed(self, run: Run, reason: str) -> None:
        """A run stopped by a fault."""
        console.print(f"{coloured('failed')}  {reason}\n  see {_relative(run.folder / 'failure.md')}", soft_wrap=True)

    def _show(self, run: Run, what: str, done: int, total: int, figures: str) -> None:
        if (run, what) != (self.run, self.what):
            self.begun += run is not self.run
            self.run, self.what = run, what
            at = f"{self.begun}/{self.total}"
            title = f"{at} {run.config['method']['name']} s{run.config['seed']} {what}"
            self.progress.reset(self.task, description=title, total=total)
            if not console.is_terminal:
                console.print(f"{at} {run.name}  {what}", soft_wrap=True)
        self.progress.update(self.task, completed=done, figures=figures)


class Reporter:
    """The states of runs in other processes, read from the disk: a live table, or a line for each change."""

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
        """Look at the disk again."""
        if console.is_terminal:
            seen = rows([run.folder for run in self.runs], Jobs())
            self.live.update(status_table(seen, summary(seen)))
        for run in self.runs:
            if self.seen.get(run.name) != run.state:
                self.seen[run.name] = run.state
                if not console.is_terminal:
                    console.print(f"{run.name}  {coloured(run.state)}", soft_wrap=True)


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
