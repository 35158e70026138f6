"""The runs that MLflow is owed: a mark for each, made when its work begins, removed when all of it was sent.

What is to be sent is in the run's folder, and what of it was sent in the folder's mlflow.json.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness.core.errors import UserError
from harness.core.files import read_json, write_json
from harness.runs.run import Run, load


class Multirun(NamedTuple):
    """The runs of one command, which hang under one parent in MLflow, and what that is called."""

    fingerprint: str
    title: str


class Owed(NamedTuple):
    """A run that is to be sent, its parent, and the age of its mark."""

    run: Run
    multirun: Multirun | None
    marked: int


def tracked_at(run: Run, tracking: str | None) -> Run:
    """The run, sent to another store."""
    return replace(run, config=replace(run.config, tracking=tracking))


def mark(run: Run) -> Path:
    """Where it stands that a run is owed."""
    return run.root / "owed" / f"{run.name}.json"


def enqueue(run: Run, multirun: Multirun | None = None) -> None:
    """Note that a run is to be sent, and where; what was noted of a parent before is kept."""
    path = mark(run)
    before = read_json(path)["multirun"] if path.exists() else None
    with suppress(UserError):  # a disk that cannot be written to: the work itself stops at it, and says so
        write_json(path, {"tracking": run.config.tracking, "multirun": multirun or before})


def pending(path: Path) -> Owed | None:
    """What a mark says; None where another process has settled it meanwhile, or the run's folder is gone."""
    try:
        age, noted = path.stat().st_mtime_ns, read_json(path)
        run = load(path.parents[1] / path.stem)
    except (FileNotFoundError, UserError):
        return None
    multirun = Multirun(*noted["multirun"]) if noted["multirun"] else None
    return Owed(tracked_at(run, noted["tracking"]), multirun, age)


def done(owed: Owed) -> None:
    """Remove a run's mark, unless it was made anew meanwhile."""
    path = mark(owed.run)
    with suppress(FileNotFoundError):
        if path.stat().st_mtime_ns == owed.marked:
            path.unlink()


def marks(root: Path) -> list[Path]:
    """The marks in a folder of runs, oldest first."""
    aged = {path: path.stat().st_mtime_ns for path in (root / "owed").glob("*.json") if path.exists()}
    return sorted(aged, key=lambda path: (aged[path], path.name))
