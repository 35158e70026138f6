"""The thread that brings a run to MLflow beside its work, so that no run waits for a server."""

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
"""Seconds that the end of a run waits for the last push; what is not sent by then stays owed."""


class Sender(Watch):
    """As a context, it sends the run's newest state whenever it is told of news, and once more on leaving.

    What news come while it is sending go with the next push. Meanwhile it notes what the machine does.
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
        if kind is None or issubclass(kind, Exception):  # who was told to leave has no time
            self.thread.join(LAST)

    def saved(self) -> None:
        """There is something to send."""
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
    """What sends a run to MLflow while it goes on; nothing where tracking is off, or in a process that is not the
    first of the run's."""
    return Sender(run, multirun) if join().rank == 0 and enabled(run.config) else Watch()
