"""The outbox: a file for each run still to be sent to MLflow, made when its work begins, removed when all was sent.

The content to send is in the run's folder, and the folder's mlflow.json notes what was already sent.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness.core.errors import UserError
from harness.core.files import read_json, write_json
from harness.runs.run import Run, load


class Multirun(NamedTuple):
    """The MLflow parent of the runs of one command, and its title."""

    fingerprint: str
    title: str


class Owed(NamedTuple):
    """A run to be sent, its parent, and the modification time of its mark, in ns."""

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
    """Mark a run as still to be sent, with its store; keep the parent of an earlier mark if none is given."""
    path = mark(run)
    before = read_json(path)["multirun"] if path.exists() else None
    with suppress(UserError):  # disk not writable: the work itself will stop there, with a message
        write_json(path, {"tracking": run.config.tracking, "multirun": multirun or before})


def pending(path: Path) -> Owed | None:
    """Read a mark; None if another process removed it meanwhile, or the run's folder is gone."""
    try:
        age, note = path.stat().st_mtime_ns, read_json(path)
        run = load(path.parents[1] / path.stem)
    except (FileNotFoundError, UserError):
        return None
    multirun = Multirun(*note["multirun"]) if note["multirun"] else None
    return Owed(tracked_at(run, note["tracking"]), multirun, age)


def done(owed: Owed) -> None:
    """Remove a run's mark, unless it was written again meanwhile."""
    path = mark(owed.run)
    with suppress(FileNotFoundError):
        if path.stat().st_mtime_ns == owed.marked:
            path.unlink()


def marks(root: Path) -> list[Path]:
    """The marks in a folder of runs, oldest first."""
    aged = {path: path.stat().st_mtime_ns for path in (root / "owed").glob("*.json") if path.exists()}
    return sorted(aged, key=lambda path: (aged[path], path.name))
