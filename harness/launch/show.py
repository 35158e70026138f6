"""What launchers tell whoever typed the command. Nothing here prints: cli/bars.py says it on a terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from harness.runs.progress import Watch
from harness.runs.record import Record
from harness.runs.run import Run


class Bars(Watch):
    """Hears of runs in this process; this one ignores it."""

    def finished(self, run: Run, result: Record) -> None:
        """A run has its record."""

    def failed(self, run: Run, reason: str) -> None:
        """A run stopped by a fault."""


class Show:
    """What a launcher shows, by kind of launcher; this one shows nothing."""

    def bars(self, runs: int) -> Bars:
        """For so many runs, one after another in this process."""
        return Bars()

    def states(self, runs: list[Run]) -> AbstractContextManager[Callable[[], None]]:
        """For runs in other processes; gives what looks at the disk again."""
        return nullcontext(lambda: None)

    def line(self, text: str) -> None:
        """A line of text."""
