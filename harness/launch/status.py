"""The progress of runs: one row each, from small files in its folder and SLURM's queue, without importing torch.

An unreadable file does not hide the other runs: it becomes a row that says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from harness.core.errors import UserError, printable
from harness.core.files import read_lines
from harness.core.text import counted
from harness.evaluation.score import Score
from harness.launch import queue
from harness.launch.queue import Ended, Queued, Submitted, submitted
from harness.runs import record
from harness.runs.folder import OVER, Fault, RunState, failure_reason, has_record, is_locked, readable, state
from harness.runs.progress import WAITING, WAITS, Note, read_note, read_waits
from harness.runs.record import Record

RowState = RunState | Literal["unreadable"]

NO_JOB = "no job: the same command submits it again"


@dataclass(frozen=True)
class StatusRow:
    """A run or a shared stage: its state, progress, seconds left, job and last error.

    rate: what it does in a second. going: whether it will progress without another command.
    """

    name: str
    state: RowState
    progress: str = ""
    left: float | None = None
    job: str = ""
    error: str = ""
    going: bool = False
    rate: float | None = None


@dataclass(frozen=True)
class Jobs:
    """SLURM's answer about our jobs: those not over, how others ended, and the error if it did not answer."""

    queued: dict[tuple[str, int], Queued] = field(default_factory=dict)
    ended: dict[tuple[str, int], Ended] = field(default_factory=dict)
    silence: str = ""

    @classmethod
    def asked(cls, folders: Sequence[Path]) -> "Jobs":
        """Query SLURM once, and only if some folder's work was submitted to it."""
        jobs = [submitted(folder) for folder in folders if not has_record(folder)]
        names = {job.name for job in jobs if job}
        if not names:
            return cls()
        try:
            return cls(queue.queue(), queue.history(names))
        except UserError as error:
            return cls(silence=str(error).partition("\n")[0])

    def has(self, job: Submitted | None) -> bool:
        """Whether a job is queued or running."""
        return job is not None and job.key in self.queued

    def told(self, job: Submitted, of: RunState) -> str:
        """A short text on a job, shown next to the state of its run."""
        if job_in_queue := self.queued.get(job.key):
            reason = f" ({job_in_queue.reason})" if job_in_queue.reason not in ("", "None") else ""
            return f"{job_in_queue.id} {job_in_queue.state}{reason}"
        if self.silence or of in ("running", *OVER):
            return ""
        ended = self.ended.get(job.key)
        return f"{ended.id} {ended.state}" if ended else NO_JOB if of == "queued" else ""


def rows(folders: Sequence[Path], jobs: Jobs) -> list[StatusRow]:
    """One row for each run's folder."""
    found = [readable(folder, lambda path: _row(path, jobs)) for folder in folders]
    return [_unreadable(row) if isinstance(row, Fault) else row for row in found]


def stages(root: Path, jobs: Jobs) -> list[StatusRow]:
    """One row for each shared stage below a folder of runs whose job is queued or running, or that a run waits for."""
    folders = sorted({*stage_folders(root), *_waited_for(root)})
    found = [readable(folder, lambda path: _stage(path, jobs)) for folder in folders]
    rows = [_unreadable(row, "stage ") if isinstance(row, Fault) else row for row in found]
    return [row for row in rows if row is not None]


def stage_folders(root: Path) -> list[Path]:
    """The folders of stages that were submitted as separate jobs and are neither done nor diverged."""
    submitted_folders = {path.parent for path in (root / "stages").glob("*/job.json")}
    return sorted(folder for folder in submitted_folders if not _ended(folder))


def _waited_for(root: Path) -> set[Path]:
    """The folders of stages that runs without a record wait for and that are neither done nor diverged."""
    waiting = [path.parent for path in root.glob(f"*/{WAITS}") if not has_record(path.parent)]
    found = [waits for folder in waiting if isinstance(waits := readable(folder, read_waits), dict)]
    return {folder for waits in found for folder in waits.values() if not _ended(folder)}


def _ended(stage: Path) -> bool:
    return any((stage / end).exists() for end in ("done.json", "diverged.json"))


def summary(rows: Sequence[StatusRow]) -> str:
    """A line with the number of rows in each state."""
    counts = Counter(row.state for row in rows).most_common()
    return ": ".join(filter(None, [counted(len(rows), "run"), ", ".join(f"{n:,} {state}" for state, n in counts)]))


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def scores(result: Record, most: int | None = None) -> str:
    """One line on a record: why there are no scores, or its budget, protocol and first `most` scores."""
    main: list[Score] = [score for score in result.scores.values() if not score.table]
    texts = [f"{score.title} {score.value:.2f}{score.unit}" for score in main[:most]]
    budget = [override for override in result.overrides if override.startswith("budget=")]
    return result.reason or ": ".join(filter(None, [*budget, result.protocol.label, "  ".join(texts)]))


def _row(folder: Path, jobs: Jobs) -> StatusRow:
    if has_record(folder):
        result = record.read(folder / "record.json")
        return StatusRow(printable(folder.name), result.state, scores(result, 3))
    run_state = state(folder)
    job = submitted(folder)
    told = jobs.told(job, run_state) if job else ""
    going = run_state == "running" or jobs.has(job) or (run_state == "queued" and told != NO_JOB)
    error = failure_reason(folder) if run_state == "failed" else ""
    return _with_progress(folder, StatusRow(printable(folder.name), run_state, job=told, error=error, going=going))


def _unreadable(fault: Fault, kind: str = "") -> StatusRow:
    return StatusRow(f"{kind}{fault.name}", "unreadable", error=fault.reason)


def _with_progress(folder: Path, row: StatusRow) -> StatusRow:
    """The row with the run's progress added, if the run was started, or with the stage that it waits for."""
    note = read_note(folder) if row.state != "queued" else None
    if note is None:
        return replace(row, progress=_waiting(folder) if row.state == "queued" else "")
    if row.state == "running" and note.what.startswith(WAITING) and (waiting := _waiting(folder)):
        return replace(row, progress=waiting, job=row.job or f"{note.host}:{note.pid}")
    attempts = f"  (started {note.attempt} times)" if note.attempt > 1 else ""
    row = replace(row, progress=f"{note.what} {note.done:,}/{note.total:,}  {note.words}".rstrip() + attempts)
    if row.state != "running":
        return row
    return replace(row, left=note.seconds_left, rate=_rate(note), job=row.job or f"{note.host}:{note.pid}")


def _waiting(folder: Path) -> str:
    """Which stage a run waits for, and how far that is; empty if it waits for none."""
    for name, stage in read_waits(folder).items():
        if not _ended(stage):
            note = read_note(stage) if is_locked(stage) else None
            if note is None:
                return f"waits for stage {name}"
            left = "" if note.seconds_left is None else f", {duration(note.seconds_left)} left"
            return f"waits for stage {name}: {note.done:,}/{note.total:,}{left}"
    return ""


def _rate(note: Note) -> float | None:
    return (note.total - note.done) / note.seconds_left if note.seconds_left else None


def _stage(folder: Path, jobs: Jobs) -> StatusRow | None:
    """The row of a shared stage; None if no job works on it, and none will."""
    job, going = submitted(folder), is_locked(folder)
    if not jobs.has(job) and not going:
        return None
    lines = read_lines(folder / "metrics.jsonl")
    stage_state: RunState = "running" if going else "interrupted" if lines else "queued"
    told = jobs.told(job, stage_state) if job else ""
    name = f"stage {printable(folder.name)}"
    if going and (note := read_note(folder)):
        progress, at = f"{note.done:,}/{note.total:,}  {note.words}".rstrip(), told or f"{note.host}:{note.pid}"
        return StatusRow(name, stage_state, progress, note.seconds_left, at, going=True, rate=_rate(note))
    progress = f"step {lines[-1]['step']:,}" if lines else ""
    return StatusRow(name, stage_state, progress, job=told, going=True)
