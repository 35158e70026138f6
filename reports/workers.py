"""Background work in forked copies of this process, on all processors."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from threading import Thread
from threading import enumerate as all_threads
from typing import TypeVar

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
            before = all_threads()
            chunks = [
                pool.submit(_do, range(first, min(first + AT_A_TIME, count))) for first in range(0, count, AT_A_TIME)
            ]
            givers = [thread for thread in all_threads() if thread not in before]
            yield results
            # Wait for each chunk as long as the pool's own thread lives; it dies silently where memory ends.
            for chunk in chunks:
                while wait([chunk], timeout=1).not_done:
                    if not chunk.done() and not all(thread.is_alive() for thread in givers):
                        raise MemoryError("the thread that collects the results of the copies ended")
                results.extend(chunk.result())  # type: ignore[arg-type]
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


def _do(numbers: range) -> list[object]:
    return [_works[-1](number) for number in numbers]
