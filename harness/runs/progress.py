"""A run's progress: who hears of it, and the file in its folder that `status` reads."""

import os
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BaseModel, Field, TypeAdapter

from harness.core.errors import Damaged, Unreadable, UserError, why
from harness.core.files import valid_name, write_json, write_text
from harness.core.reading import read_file
from harness.evaluation.score import Count, Number
from harness.runs.record import explain
from harness.runs.run import Run, StageRun

if TYPE_CHECKING:
    from harness.training.loop import Progress

OFTEN = 2.0
"""Seconds between two notes of progress."""

PROGRESS = "progress.json"
"""The file of a note, in the folder of a run, or of a stage while it is trained."""

WAITS = "waits.json"
"""The file in a run's folder that names the stages that other jobs train for it: the folder of each, by its name."""

WAITING = "waiting for stage"
"""What a run does while another job trains its stage: this, and the stage's name."""


STAGES = TypeAdapter(dict[str, str])
"""Parser of waits.json."""


class Note(BaseModel):
    """What progress.json holds: what is being done, `done` of `total`, a short remark, and by which process.

    attempt: the number of this attempt at the run.
    """

    host: str
    pid: Annotated[int, Field(strict=True, ge=1, le=2**22)]
    what: str = ""
    done: Count = 0
    total: Count = 0
    seconds_left: Number | None = None
    words: str = ""
    job: str | None = None
    attempt: Count = 1


def read_note(folder: Path) -> Note | None:
    """The progress of a run's folder; None if it has none, Unreadable if progress.json holds anything else."""
    path = folder / PROGRESS
    try:
        return Note.model_validate_json(read_file(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Damaged(path, explain(error)) from None


def note_waits(run: Run, stage_runs: Sequence[StageRun]) -> None:
    """Note in a run's folder which stages other jobs train for it; nothing is written if there never were any."""
    if stage_runs or (run.folder / WAITS).exists():
        write_json(run.folder / WAITS, {stage_run.name: stage_run.folder.name for stage_run in stage_runs})


def read_waits(folder: Path) -> dict[str, Path]:
    """The folders of the stages that a run waits for, or has waited for, by name; Damaged if its note is."""
    try:
        waits = STAGES.validate_json(read_file(folder / WAITS))
        return {name: folder.parent / "stages" / valid_name(stage) for name, stage in waits.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, UserError) as error:
        raise Damaged(folder / WAITS, why(error)) from None


class Watch:
    """Hears of a run's progress; this class ignores it, and subclasses override what they need.

    As a context it is entered when the run's work begins and left when that ends, also by an error.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return

    def training(self, run: Run, stage: str, progress: "Progress") -> None:
        """A training step was taken."""

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """`done` of `total` pieces of sampling or evaluation are done; `words` is a short remark on them."""

    def saved(self) -> None:
        """The run's folder holds something new: curves, previews, and a checkpoint that is being written."""


class Watches(Watch):
    """Several watches as one, called in their order."""

    def __init__(self, *watches: Watch) -> None:
        self.watches, self.entered = watches, ExitStack()

    def __enter__(self) -> Self:
        for watch in self.watches:
            self.entered.enter_context(watch)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.entered.__exit__(kind, error, at)

    def training(self, run: Run, stage: str, progress: "Progress") -> None:
        """A training step was taken."""
        for watch in self.watches:
            watch.training(run, stage, progress)

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some pieces of sampling or evaluation are done."""
        for watch in self.watches:
            watch.working(run, what, done, total, words)

    def saved(self) -> None:
        """The run's folder holds something new."""
        for watch in self.watches:
            watch.saved()


class Diary(Watch):
    """Writes a run's progress to progress.json, as a `Note`; folder: where, by default the run's folder."""

    def __init__(self, run: Run, attempt: int, folder: Path | None = None) -> None:
        self.run, self.attempt, self.path = run, attempt, (folder or run.folder) / PROGRESS
        self.what, self.words, self.begun_at, self.begun_with, self.noted_at = "", "", 0.0, 0, 0.0

    def training(self, run: Run, stage: str, progress: "Progress") -> None:
        """A training step was taken."""
        figures = "  ".join(f"{name} {value:.3g}" for name, value in progress.figures.items())
        self.note(f"train {stage}", progress.step, progress.steps, figures)

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some pieces of sampling or evaluation are done; new words, such as an attack's name, are noted at once."""
        self.note(what, done, total, words, at_once=words != self.words)

    def note(self, what: str, done: int, total: int, words: str, at_once: bool = False) -> None:
        """Write progress.json if the kind of work changed or the last note is old, or at once."""
        now, what = time.monotonic(), ", ".join(filter(None, [what, self.run.config.shown_budget]))
        if what != self.what:
            self.what, self.begun_at, self.begun_with = what, now, done
        elif now - self.noted_at < OFTEN and done != total and not at_once:
            return
        self.noted_at, self.words = now, words
        new = done - self.begun_with
        left = (total - done) * (now - self.begun_at) / new if new > 0 else None
        note = Note(
            host=socket.gethostname(),
            pid=os.getpid(),
            what=what,
            done=done,
            total=total,
            seconds_left=None if left is None else round(left, 1),
            words=words,
            job=job(),
            attempt=self.attempt,
        )
        write_json(self.path, note.model_dump())


def job() -> str | None:
    """The id of the SLURM job that this process belongs to; None outside of one."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID")


def count_attempt(run: Run) -> int:
    """Count one more attempt at a run, in its file `started`; the number of this attempt."""
    path = run.folder / "started"
    try:
        before = read_file(path).strip()
    except (FileNotFoundError, Unreadable):
        before = b""
    attempt = 1 + (int(before) if before.isdigit() and len(before) < 10 else 0)  # a damaged file counts as none
    write_text(path, f"{attempt}\n")
    return attempt
