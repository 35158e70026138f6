"""Background work in forked copies of this process, on all processors."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

AT_A_TIME = 16

YIELDING = 10
"""Added niceness of the copies: the work of this process, on one processor, takes longer than theirs on all."""

_works: list[Callable[[int], object]] = []
"""The work of the copies, which they inherit when this process forks."""


@contextmanager
def beside(work: Callable[[int], object], count: int) -> Iterator[None]:
    """Do the work for all numbers below `count` while the body runs; raise its errors at the end."""
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
