"""The errors that mean something of their own: to be mended by the user, an outcome, a fault in the evaluation."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """What is wrong, where, and what to type next; shown without a traceback, exit status 2."""


class Diverged(Exception):
    """A loss, a weight or a sample is not finite or beyond its bound: an outcome of the run, not a fault in it."""


class CanaryFailed(Exception):
    """A check before an evaluation shows that its numbers would be wrong."""


def first_line(error: BaseException) -> str:
    """What an error says, in a line; empty where it says nothing."""
    return str(error).partition("\n")[0]


def near(name: str, names: Iterable[str]) -> str:
    """A hint for a mistyped name: the nearest ones, and all there are."""
    names = sorted(names)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}There are: {', '.join(names)}."
