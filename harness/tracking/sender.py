"""A background thread that sends a run to MLflow, so that the run never waits for a server."""

from threading import Event, Thread
from types import TracebackType
from typing import Self

from harness import tracking
from harness.core.distributed import join
from harness.runs.progress import Watch
from harness.runs.run import Run
from harness.tracking.outbox import Multirun, enqueue
from harness.tracking.retry import best_effort
from harness.tracking.store import enabled, uri
from harness.tracking.usage import Usage

LAST = 20
"""Seconds that a run waits at its end for the last push; what is not sent by then stays in the outbox."""


class Sender(Watch):
    """A context manager that sends the run's state after each call of `saved`, and once more at exit.

    Changes during a push are sent with the next one. Between pushes it records the machine's usage.
    """

    def __init__(self, run: Run, multirun: Multirun | None) -> None:
        self.run, self.multirun = run, multirun
        self.news, self.over = Event(), Event()
        self.thread = Thread(target=self._work, daemon=True, name=f"mlflow {run.name}")

    def __enter__(self) -> Self:
        enqueue(self.run, self.multirun)
        self.saved()
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.over.set()
        self.news.set()
        if kind is None or issubclass(kind, Exception):  # after a signal there is no time to wait
            self.thread.join(LAST)

    def saved(self) -> None:
        """Request a push."""
        self.news.set()

    def _work(self) -> None:
        where = uri(self.run.config)
        usage = best_effort(
            where, "the machine is not watched", lambda: Usage(self.run.folder / "system.jsonl"), insist=True
        )
        while not self.over.is_set():
            if self.news.wait(1):
                self.news.clear()
                tracking.push(self.run)
            if usage and not self.over.is_set():
                best_effort(where, "the machine is not watched", usage.note, insist=True)
        tracking.push(self.run, last=True)


def sender(run: Run, multirun: Multirun | None = None) -> Watch:
    """The watch that sends a run to MLflow; one that does nothing if tracking is off, or on ranks other than 0."""
    return Sender(run, multirun) if join().rank == 0 and enabled(run.config) else Watch()
