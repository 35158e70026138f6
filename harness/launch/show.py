"""The interface by which launchers report to the user. Nothing here prints; cli/bars.py prints on a terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from harness.runs.progress import Watch
from harness.runs.record import Record
from harness.runs.run import Run


class Bars(Watch):
    """Watches runs in this process; this base class does nothing."""

    def finished(self, run: Run, result: Record) -> None:
        """Called when a run has its record."""

    def failed(self, run: Run, reason: str) -> None:
        """Called when an error stopped a run."""


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
