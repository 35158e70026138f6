"""The time that each section of a training step takes, recorded while a clock is running."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_running: list["Clock"] = []
"""The running clock, at most one; without one a section costs next to nothing."""


class Clock:
    """Seconds by section; nested time counts for the innermost one. GPU work counts where it is launched."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record the sections within the context."""
        _running.append(self)
        try:
            yield
        finally:
            _running.remove(self)

    def turn(self, to: str | None) -> None:
        """Enter a section, or leave the innermost (None); the elapsed time counts for the one that was innermost."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now
        self._inside.append(to) if to is not None else self._inside.pop()


@contextmanager
def section(name: str) -> Iterator[None]:
    """Time a part of a step under the name that the benchmark shows."""
    if not _running:
        yield
        return
    clock = _running[-1]
    clock.turn(name)
    try:
        yield
    finally:
        clock.turn(None)
