"""Work that copies of this process do beside it, on all processors."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

AT_A_TIME = 16

YIELDING = 10
"""By how much the copies are nicer than this process, whose work takes one processor longer than theirs takes all."""

_works: list[Callable[[int], object]] = []
"""What the copies, which begin with all that this process holds, find to do."""


@contextmanager
def beside(work: Callable[[int], object], count: int) -> Iterator[None]:
    """Have the work done for all numbers below `count` while the body goes on; errors of it are raised at the end."""
    _works.append(work)
    try:
        with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), os.nice, (YIELDING,)) as pool:
            done = pool.map(_do, range(count), chunksize=AT_A_TIME)
            yield
            for _ in done:
                pass
    finally:
        _works.pop()


def _do(number: int) -> None:
    _works[-1](number)
