"""Best-effort calls to a tracking server: warn once, then back off."""

import logging
import math
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)

Done = TypeVar("Done")

PATIENCE = 300
"""Seconds before an unreachable store is tried again, so that a run does not wait for it at each push."""

_failed_at: dict[str, float] = {}
"""Stores that were unreachable when last tried, with the time of that try on the monotonic clock."""

_warned: set[str] = set()
"""Faults that were already logged."""


def best_effort(store: str, what: str, do: Callable[[], Done], insist: bool = False) -> Done | None:
    """The result of `do`; None if the store is being avoided, or if `do` fails, as no run may fail because of it.

    Each fault, and each unreachable store, is logged once as a one-line warning. insist: call `do` even if the store
    was unreachable a short while ago.
    """
    if not insist and away(store):
        return None

    try:
        result = do()
    except Exception as error:
        if _unreachable(error):
            _failed_at[store] = time.monotonic()
            what = f"{store} cannot be reached, what it misses is sent later"
        if what not in _warned:
            log.warning("MLflow: %s: %s: %s", what, type(error).__name__, str(error).partition("\n")[0])
            _warned.add(what)
        return None
    _failed_at.pop(store, None)
    return result


def away(store: str) -> bool:
    """Whether a store was unreachable within the last PATIENCE seconds."""
    return time.monotonic() - _failed_at.get(store, -math.inf) < PATIENCE


def _unreachable(error: Exception) -> bool:
    """Whether an error means that the store is unreachable, not that it refuses a request."""
    code = getattr(error, "error_code", None)  # of MLflow's own errors
    if code is not None:
        return code in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
    return isinstance(error, OSError) or type(error).__name__ == "OperationalError"
