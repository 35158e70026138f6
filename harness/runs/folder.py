"""A run's folder as other processes see it: its state, read from the disk alone, and its lock. Imports no torch.

Anybody may have written it: `readable` lets no folder hide another.
"""

import fcntl
import logging
import os
import stat
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from filelock import FileLock

from harness.core.errors import Unreadable, UserError, printable, why
from harness.core.files import LOCKLESS, NO_LOCKS, check_locks
from harness.core.reading import LARGEST_CONFIG, read_file, text
from harness.runs import record

log = logging.getLogger(__name__)

T = TypeVar("T")

RunState = Literal[
    "new", "queued", "running", "interrupted", "done", "diverged", "collapsed", "failed", "skipped"
]  # fmt: skip

OVER: tuple[RunState, ...] = record.OVER
"""The states of a run that has its record."""


class Fault(NamedTuple):
    """What cannot be read of a run: the name of its folder, and the reason, which begins with the name of a file."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: unreadable: {self.reason}"


def readable(folder: Path, read: Callable[[Path], T]) -> T | Fault:
    """What `read` makes of a run's folder, or why it fails: whatever a folder holds, the others are still read."""
    try:
        return read(folder)
    except MemoryError:  # the fault of this machine, not of the folder
        raise
    except Exception as error:  # each kind of damage has an error of its own, and all are shown
        file = f"{error.path.name}: " if isinstance(error, Unreadable) else ""
        return Fault(printable(folder.name), f"{file}{why(error)}")


def has_record(folder: Path) -> bool:
    """Whether a run's folder has a record, readable or not."""
    return os.path.lexists(folder / "record.json")


def state(folder: Path) -> RunState:
    """The state of a run folder, read from the disk alone; Unreadable if its record is."""
    if has_record(folder):
        return record.read(folder / "record.json").state
    if not (folder / "config.yaml").exists():
        return "new"
    if (folder / "failure.md").exists():  # a new attempt removes it first
        return "failed"
    if is_locked(folder):
        return "running"
    return "interrupted" if (folder / "started").exists() else "queued"


def failure_reason(folder: Path) -> str:
    """Why a run failed, as its failure.md says in one line; Unreadable if that cannot be read."""
    lines = text(read_file(folder / "failure.md", LARGEST_CONFIG)).split("\n")
    return lines[2].strip() if len(lines) > 2 else "failure.md gives no reason"


def lock(folder: Path, name: str = "lock") -> FileLock:
    """A lock of a run's or stage's folder; the operating system releases it when its process dies.

    name: that of its file. UserError if that is something else, or if the file system takes no locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    check_locks(folder)
    path = folder / name
    if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
        raise UserError(f"{path} is not a file, so it cannot be locked: remove it.")
    return FileLock(path)


def is_locked(folder: Path) -> bool:
    """Whether a living process holds the folder's lock; writes nothing, so it works in other users' folders too.

    False, with a warning, where the file system takes no locks: no process of ours works there. Unreadable if the lock
    is no regular file.
    """
    path = folder / "lock"
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise Unreadable(path, error.strerror) from None
    # Try to share the lock for a moment.
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Unreadable(path, "it is not a regular file")
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on NFS
        return True
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
        _tell(NO_LOCKS.format(place=folder.parent, reason=error.strerror))
        return False
    else:
        return False
    finally:
        os.close(file)  # releases the lock, which was held for microseconds; waiting processes try again


@cache
def _tell(fault: str) -> None:
    """Say once what the states of runs are worth."""
    log.warning("%s: no run is shown as running, even if a machine on which locks work there is running it.", fault)
