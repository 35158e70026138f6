"""A run's folder as other processes see it: its state, read from the disk alone, and its lock. Imports no torch."""

import fcntl
import os
from pathlib import Path
from typing import Literal

from filelock import FileLock

from harness.runs import record

RunState = Literal["new", "queued", "running", "interrupted", "done", "diverged", "failed", "skipped"]

OVER: tuple[RunState, ...] = record.OVER
"""The states of a run that has its record."""


def state(folder: Path) -> RunState:
    """The state of a run folder, read from the disk alone."""
    if (folder / "record.json").exists():
        return record.read_state(folder / "record.json")["state"]
    if not (folder / "config.yaml").exists():
        return "new"
    if (folder / "failure.md").exists():  # a new attempt removes it first
        return "failed"
    if is_locked(folder):
        return "running"
    return "interrupted" if (folder / "started").exists() else "queued"


def lock(folder: Path) -> FileLock:
    """The lock of a run's or stage's folder; the operating system releases it when its process dies."""
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "lock")


def is_locked(folder: Path) -> bool:
    """Whether a living process holds the folder's lock; writes nothing, so it works in other users' folders too."""
    try:
        file = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on NFS
        return True
    else:
        return False
    finally:
        os.close(file)  # releases the lock, which was held for microseconds; waiting processes try again
