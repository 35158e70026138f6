"""The interface by which launchers report to the user, and progress as lines. cli/bars.py shows bars on a terminal."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from harness.core.text import visible
from harness.launch.status import duration, scores
from harness.runs.progress import Watch
from harness.runs.record import Record
from harness.runs.run import Run

if TYPE_CHECKING:
    from harness.training.loop import Progress

MINUTE = 60.0
"""Seconds between two lines on a run."""

Clock = Callable[[], float]
"""Seconds since some moment."""


class Bars(Watch):
    """Watches runs in this process; this base class does nothing."""

    def finished(self, run: Run, result: Record) -> None:
        """Called when a run has its record."""

    def failed(self, run: Run, reason: str) -> None:
        """Called when an error stopped a run."""


class Lines(Bars):
    """Progress of runs in this process for logs, scripts and notebooks: a line for each phase, and one a minute.

    total: number of runs; where there are several, each line begins with the number of its run. tell: prints a line.
    """

    def __init__(self, total: int, tell: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self.total, self.tell, self.clock = total, tell, clock
        self.begun = 0
        self.run: Run | None = None
        self.what = ""
        self.begun_at, self.begun_with, self.told_at = 0.0, 0, 0.0

    def training(self, run: Run, stage: str, progress: "Progress") -> None:
        """Tell of a training step."""
        self._tell(run, f"train {stage}", progress.step, progress.steps, figures_text(progress.figures))

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Tell how many pieces of sampling or evaluation are done."""
        self._tell(run, what, done, total, words)

    def finished(self, run: Run, result: Record) -> None:
        """Tell the state and the scores of a run that has its record."""
        self.tell(visible(f"{run.name}  {result.state}  {scores(result)}"))

    def failed(self, run: Run, reason: str) -> None:
        """Tell why a run failed."""
        self.tell(visible(f"failed  {reason}\n  see {run.folder / 'failure.md'}"))

    def _tell(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        now = self.clock()
        new = (run, what) != (self.run, self.what)
        if new:
            self.begun += run is not self.run
            self.run, self.what = run, what
            self.begun_at, self.begun_with, self.told_at = now, done, now
        place = f"{self.begun}/{self.total} " if self.total > 1 else ""
        name = f"{place}{run.name}  {what}"
        if new:
            self.tell(visible(name))
        elif now - self.told_at >= MINUTE:
            self.told_at = now
            rate = (done - self.begun_with) / (now - self.begun_at) or None
            left = (total - done) / rate if rate else None
            self.tell(visible(progress_line(name, f"{done:,}/{total:,}", words, rate=rate, left=left)))


def progress_line(*parts: str, rate: float | None, left: float | None) -> str:
    """Return a line of progress: the parts, the rate and the time left, as far as they are known."""
    return "  ".join(filter(None, [*parts, rate_text(rate), "" if left is None else f"{duration(left)} left"]))


def rate_text(rate: float | None) -> str:
    """Return a rate of steps or pieces per second as a text; empty if it is unknown."""
    return "" if rate is None else f"{rate:.1f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"


def figures_text(figures: dict[str, float]) -> str:
    """Return the figures of a training step as a text."""
    return "  ".join(f"{name} {value:.3g}" for name, value in figures.items())


class Show:
    """What launchers show, with a method for each kind of launcher; this base class shows nothing."""

    def bars(self, runs: int) -> Bars:
        """Progress bars for a number of runs, executed one after another in this process."""
        return Bars()

    def states(self, runs: list[Run]) -> AbstractContextManager[Callable[[], None]]:
        """Show the states of runs in other processes; the context gives a function that reads the disk again."""
        return nullcontext(lambda: None)

    def line(self, text: str) -> None:
        """Show a line of text."""
