"""Where the time of a training step goes: its sections, told to a clock while somebody has one running."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_running: list["Clock"] = []
"""At most one; without one a section costs nothing that could be measured."""


class Clock:
    """Seconds by section, of the innermost one where they are nested; work of a GPU counts where it is begun."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._since = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Listen to the sections of the body."""
        _running.append(self)
        try:
            yield
        finally:
            _running.remove(self)

    def turn(self, to: str | None) -> None:
        """Enter a section, or leave the innermost one; what went by is the time of the one that was innermost."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now
        self._inside.append(to) if to is not None else self._inside.pop()


@contextmanager
def section(name: str) -> Iterator[None]:
    """A part of a step, under the name that a benchmark shows it by."""
    if not _running:
        yield
        return
    clock = _running[-1]
    clock.turn(name)
    try:
        yield
    finally:
        clock.turn(None)
