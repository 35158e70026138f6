"""Background work in forked copies of this process, on all processors."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

AT_A_TIME = 16

YIELDING = 10
"""Added niceness of the copies: the work of this process, on one processor, takes longer than theirs on all."""

_works: list[Callable[[int], object]] = []
"""The work of the copies, which they inherit when this process forks."""


@contextmanager
def beside(work: Callable[[int], T], count: int) -> Iterator[list[T]]:
    """Do the work for all numbers below `count` while the body runs; raise its errors at the end.

    Yields a list, which holds the results in order after the body.
    """
    _works.append(work)
    results: list[T] = []
    others = active_children()
    try:
        with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), _begin) as pool:
            done: Iterator[Any] = pool.map(_do, range(count), chunksize=AT_A_TIME)
            yield results
            results.extend(done)
    except BaseException:
        # At exit, Python would wait for copies that never got work, as where no thread could start that gives it.
        for process in active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        _works.pop()


def _begin() -> None:
    """Give way to the process that this one is a copy of, and end with it."""
    os.nice(YIELDING)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone: if that was killed, nobody gives it work or ends it."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(number: int) -> object:
    return _works[-1](number)
