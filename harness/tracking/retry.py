"""What may fail without harm: told once, and left alone for a while."""

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

Done = TypeVar("Done")

PATIENCE = 300
"""Seconds that a store which cannot be reached is left alone, so that no run waits for it at each push."""

_away: dict[str, float] = {}
"""The stores that could not be reached when last tried, and when that was, on the monotonic clock."""

_told: set[str] = set()
"""The faults that were told."""


def best_effort(store: str, what: str, do: Callable[[], Done], insist: bool = False) -> Done | None:
    """What `do` gives; None if the store is left alone, or if `do` fails, for no run may end of it.

    Each fault, and each store that cannot be reached, is told in one line of warning, once. insist: leave no store
    alone.
    """
    if not insist and away(store):
        return None
    try:
        done = do()
    except Exception as error:
        if _unreachable(error):
            _away[store] = time.monotonic()
            what = f"{store} cannot be reached, what it misses is sent later"
        if what not in _told:
            log.warning("MLflow: %s: %s: %s", what, type(error).__name__, str(error).partition("\n")[0])
            _told.add(what)
        return None
    _away.pop(store, None)
    return done


def away(store: str) -> bool:
    """Whether a store could not be reached a short while ago."""
    return time.monotonic() - _away.get(store, -math.inf) < PATIENCE


def _unreachable(error: Exception) -> bool:
    """Whether an error means that the store is away, rather than that it refuses what it was sent."""
    code = getattr(error, "error_code", None)  # of MLflow's own errors
    if code is not None:
        return code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
    return isinstance(error, OSError) or type(error).__name__ == "OperationalError"
