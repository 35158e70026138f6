"""Exceptions with a meaning of their own: user errors, divergence, and failed checks of the evaluation."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """An error that the user can fix; its message says what, where and how. No traceback is shown; exit status 2."""


class Damaged(UserError):
    """A file of ours is not what was written: cut short, emptied, or changed by as little as a bit."""

    def __init__(self, path: object, reason: object, remedy: str = "") -> None:
        super().__init__(f"{path} is damaged: {reason}.{remedy and ' '}{remedy}")


class Diverged(Exception):
    """A loss, weight or sample is not finite or exceeds its bound: an outcome of the run, not a fault in the code."""


class CanaryFailed(Exception):
    """A check before an evaluation shows that its numbers would be wrong."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message; empty if it has none."""
    return str(error).partition("\n")[0]


def near(name: str, names: Iterable[str]) -> str:
    """A hint for a mistyped name: the closest names, then all of them."""
    names = sorted(names)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}There are: {', '.join(names)}."
