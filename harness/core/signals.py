"""Signals that ask a process to save or to leave. Training finishes its step first; everything else leaves at once.

| signal | in a job that SLURM started for us | elsewhere |
| --- | --- | --- |
| TERM | save and continue: SLURM requeues a preempted job, but no job that exits by itself | leave |
| USR2 | leave: it comes some time before the time limit, and submitit then has the job requeued | not handled |

To leave is to save first where a step is under way.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

Action = Literal["save", "leave"]

ACTIONS: dict[str, dict[int, Action]] = {
    "slurm": {signal.SIGTERM: "save", signal.SIGUSR2: "leave"},
    "elsewhere": {signal.SIGTERM: "leave"},
}
"""What each signal asks for, by the place that the process runs in."""

REQUEUE_SECONDS = 600
"""How long the other processes of a requeued job wait for its end, which the scheduler brings."""


class Leave(BaseException):
    """This process was told to stop; finished work is saved. No `except Exception` takes it for a fault."""


class Signals:
    """What this process was asked to do; the training loop resets `save` when it saves."""

    def __init__(self) -> None:
        self.save = self.leave = self.deferred = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler; raises Leave at once unless that is deferred."""
        self.save = True
        if ACTIONS[_place()][number] == "leave":
            self.leave = True
            if not self.deferred:
                raise Leave


signals = Signals()
"""Of this process."""


@contextmanager
def handle_signals(disconnect: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Inside, signals are handled; after a Leave, submitit's own handler has the job requeued where there is one.

    disconnect: closes the connections to the other processes of a job, before that.
    """
    numbers = ACTIONS[_place()] if in_main_thread() else {}
    before = {number: signal.signal(number, signals.handle) for number in numbers}
    try:
        yield
    except Leave:
        requeue = before.get(signal.SIGUSR2)
        if callable(requeue):
            # Disconnect first, or rank 0 might wait for the others and not see the signal. Rank 0 does not return.
            disconnect()
            requeue(signal.SIGUSR2, None)
            time.sleep(REQUEUE_SECONDS)
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.__init__()


def in_main_thread() -> bool:
    """Whether this is the main thread; Python lets no other thread set a signal handler."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def defer_signals() -> Iterator[Signals]:
    """Inside, no signal interrupts; the caller looks at the result after each step. At the end, Leave if asked for."""
    signals.deferred = True
    try:
        yield signals
    finally:
        signals.deferred = False
    if signals.leave:
        raise Leave


def detach(*_: object) -> None:
    """Take a helper process out of the group that signals go to; its parent ends it."""
    os.setpgrp()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # some schedulers send it to every process there is


def _place() -> str:
    """Whether this is a job that we submitted, not a shell of an allocation."""
    return "slurm" if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" else "elsewhere"
