"""Exceptions with a meaning of their own: user errors, divergence, and failed checks of the evaluation."""

import errno
import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePath
from typing import ClassVar, Literal

from harness.core.text import one_line

LONGEST = 80
"""The most characters of a value that a message shows."""

PLAIN = re.compile(r"[\w./-]+", re.ASCII)
"""A value that Hydra and shells read as it is typed."""

NO_MEMORY = re.compile(
    r"(?i)can(no|')t allocate memory|failed to map segment|cannot map zero-fill pages|can't start new thread"
    r"|error return without exception set|quantization error"
)
"""What torch, the system, its loader of libraries and packages written in C say where memory ends."""


class UserError(Exception):
    """An error that the user can fix; its message says what, where and how. No traceback is shown; exit status 2."""


class Unreadable(UserError):
    """A file of a run cannot be read as what it should be; `path` and `reason` say which and why."""

    def __init__(self, path: object, reason: object, remedy: str = "", fault: str = "cannot be read") -> None:
        super().__init__(f"{path} {fault}: {reason}.{remedy and ' '}{remedy}")
        self.path, self.reason = PurePath(str(path)), str(reason)


class Damaged(Unreadable):
    """A file of ours is not what was written: cut short, emptied, or changed by as little as a bit."""

    def __init__(self, path: object, reason: object, remedy: str = "") -> None:
        super().__init__(path, reason, remedy, "is damaged")


class Diverged(Exception):
    """A loss, weight or sample is not finite or exceeds its bound: an outcome of the run, not a fault in the code.

    state: that in which the run ends.
    """

    state: ClassVar[Literal["diverged", "collapsed"]] = "diverged"


class Collapsed(Diverged):
    """The validation accuracy fell to chance and stayed there: an outcome too, of a run that is not worth attacking."""

    state = "collapsed"


class OutputLost(BaseException):
    """Standard output takes no more: its reader is gone, or its disk is full. It ends the command, but fails no run."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"The output cannot be written: {error.strerror}.")
        self.reader_gone = error.errno == errno.EPIPE


class CanaryFailed(Exception):
    """A check before an evaluation shows that its numbers would be wrong."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error, or one before it, says that memory, of a GPU or of the machine, does not suffice."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    lacking = kinds & {"MemoryError", "OutOfMemoryError"} or NO_MEMORY.search(str(error))
    return bool(lacking) or (before is not None and out_of_memory(before))


def first_line(error: BaseException) -> str:
    """The first line of an error's message; empty if it has none."""
    return str(error).partition("\n")[0]


def printable(text: str, most: int = 300) -> str:
    """A text of others in one line of at most `most` characters, without any that moves a terminal's cursor."""
    return cut(one_line(text[: 4 * most]), most - 1)


def why(error: BaseException) -> str:
    """Why something cannot be read, in one line."""
    if isinstance(error, Unreadable):
        return printable(error.reason)
    if isinstance(error, UserError):
        return printable(first_line(error))
    if isinstance(error, OSError) and error.strerror:
        return printable(error.strerror)
    return printable(f"{type(error).__name__}: {error}")


def short(value: object) -> str:
    """A value for a message, as Python shows it, cut after 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python shows no number of more than 4,300 digits
        return "a number of thousands of digits"
    return cut(text, LONGEST)


def cut(text: str, most: int) -> str:
    """A text, cut after so many characters."""
    return text if len(text) <= most else f"{text[:most]}…"


def typed(key: str, value: object) -> str:
    """An override as it can be pasted into a shell: quoted for Hydra and for the shell where either needs it."""
    text = str(value)
    return shlex.quote(f"{key}={text if PLAIN.fullmatch(text) else quoted(text)}")


def quoted(text: str) -> str:
    """A text in quotes, as Hydra reads it: it takes a backslash as it is, except before a quote."""
    return '"{}"'.format(re.sub(r'(\\+)(?="|\Z)', r"\1\1", text).replace('"', '\\"'))


def near(name: str, names: Iterable[str]) -> str:
    """A hint for a mistyped name: the closest names, then all of them."""
    names = sorted(names)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}There are: {', '.join(names)}."
