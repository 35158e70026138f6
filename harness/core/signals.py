"""Signals that tell a process to leave, or to save: training finishes its step first, everything else leaves at once.

SLURM's USR2, which comes some time before a job's end, means: save and leave, and submitit has the job requeued. Its
TERM, at preemption or scancel, means: save, and go on, for who leaves of himself is not requeued. Without SLURM a TERM
means: save and leave.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

UNTIL_ENDED = 600
"""Seconds that the other processes of a requeued job wait for its end, which the scheduler brings."""


class Leave(BaseException):
    """This process was told to leave; what was done is saved. No `except Exception` takes it for a fault."""


class Told:
    """What signals have told this process so far."""

    def __init__(self) -> None:
        self.save = self.leave = self.deferred = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        """The handler of signals."""
        self.save = True
        if number == signal.SIGTERM and _in_slurm():
            return
        self.leave = True
        if not self.deferred:
            raise Leave


told = Told()
"""Of this process."""


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, signals are heeded; on leaving, submitit's own handler has the job requeued where there is one."""
    numbers = (signal.SIGTERM, signal.SIGUSR2) if _in_slurm() else (signal.SIGTERM,)
    if not hears():
        numbers = ()
    before = {number: signal.signal(number, told.hear) for number in numbers}
    try:
        yield
    except Leave:
        requeue = before.get(signal.SIGUSR2)
        if callable(requeue):
            from harness.core.distributed import part  # torch, which light commands do without

            part()  # or the first process might wait for the others, and not hear
            requeue(signal.SIGUSR2, None)  # by the first process, which does not return from it
            time.sleep(UNTIL_ENDED)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        told.__init__()


def hears() -> bool:
    """Whether this is the thread that signals come to; Python lets no other set a handler."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def deferred() -> Iterator[Told]:
    """Inside, nothing is left half done: whoever works looks at what was told, and raises Leave, at the end at last."""
    told.deferred = True
    try:
        yield told
    finally:
        told.deferred = False
    if told.leave:
        raise Leave


def apart(*_: object) -> None:
    """Take a helping process out of the group that signals go to: whom it helps ends it."""
    os.setpgrp()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # some schedulers send it to every process there is


def _in_slurm() -> bool:
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"  # a job of ours, not a shell of an allocation
