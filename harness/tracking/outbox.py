"""The outbox: a file for each run still to be sent to MLflow, made when its work begins, removed when all was sent.

The content to send is in the run's folder, and the folder's mlflow.json notes what was already sent.
"""

import logging
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from harness.core.errors import Unreadable, UserError, why
from harness.core.files import valid_name, write_json
from harness.core.reading import read_file
from harness.runs.run import Run, load

log = logging.getLogger(__name__)


class Multirun(NamedTuple):
    """The runs of one command, which MLflow groups by their tag `sweep`: their fingerprint and a title."""

    fingerprint: str
    title: str

    @property
    def label(self) -> str:
        """The value of the tag."""
        return f"{self.title}, {self.fingerprint[:6]}"


class Mark(BaseModel):
    """What a mark holds: the store to send to, and the sweep."""

    tracking: str | None
    multirun: Multirun | None


class Owed(NamedTuple):
    """A run to be sent, its sweep, and the modification time of its mark, in ns."""

    run: Run
    multirun: Multirun | None
    marked: int


def tracked_at(run: Run, tracking: str | None) -> Run:
    """The run, with another tracking store."""
    return replace(run, config=replace(run.config, tracking=tracking))


def mark(run: Run) -> Path:
    """The file that marks a run as still to be sent."""
    return run.root / "owed" / f"{run.name}.json"


def enqueue(run: Run, multirun: Multirun | None = None) -> None:
    """Mark a run as still to be sent, with its store; keep the sweep of an earlier mark if none is given."""
    path = mark(run)
    sweep = multirun or _read(path, run).multirun
    with suppress(UserError):  # disk not writable: the work itself will stop there, with a message
        write_json(path, {"tracking": run.config.tracking, "multirun": sweep})


def pending(path: Path) -> Owed | None:
    """Read a mark; None if another process removed it meanwhile, or the run's folder is gone.

    A mark that cannot be read counts as new: the run is sent to its own store. Unreadable if the run cannot be read.
    """
    folder = path.parents[1] / valid_name(path.stem)
    try:
        age = path.lstat().st_mtime_ns
    except FileNotFoundError:
        return None
    if not os.path.lexists(folder / "config.yaml"):
        return None
    run = load(folder)
    note = _read(path, run)
    return Owed(tracked_at(run, note.tracking), note.multirun, age)


def _read(path: Path, run: Run) -> Mark:
    """The content of a mark; that of a new one if there is none, or it cannot be read."""
    try:
        return Mark.model_validate_json(read_file(path))
    except FileNotFoundError:
        pass
    except (ValueError, Unreadable) as error:
        log.warning("%s cannot be read, so the run is sent again (%s).", path, why(error))
    return Mark(tracking=run.config.tracking, multirun=None)


def done(owed: Owed) -> None:
    """Remove a run's mark, unless it was written again meanwhile."""
    path = mark(owed.run)
    with suppress(FileNotFoundError, IsADirectoryError):
        if path.lstat().st_mtime_ns == owed.marked:
            path.unlink()


def marks(root: Path) -> list[Path]:
    """The marks in a folder of runs, oldest first."""
    aged: dict[Path, int] = {}
    for path in (root / "owed").glob("*.json"):
        with suppress(FileNotFoundError):  # sent meanwhile
            aged[path] = path.lstat().st_mtime_ns
    return sorted(aged, key=lambda path: (aged[path], path.name))
