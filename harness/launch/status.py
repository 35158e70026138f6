"""The progress of runs: one row each, from small files in its folder and SLURM's queue, without importing torch.

An unreadable file does not hide the other runs: it becomes a row that says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import UserError
from harness.core.files import read_json, read_lines
from harness.launch import queue
from harness.launch.queue import Ended, Queued, Submitted, submitted
from harness.runs.folder import OVER, RunState, is_locked, state
from harness.runs.record import read_state

RowState = RunState | Literal["unreadable"]

WAITING = "no job: the same command submits it again"


@dataclass(frozen=True)
class StatusRow:
    """A run or a shared stage: its state, progress, seconds left, job and last error.

    going: whether it will progress without another command.
    """

    name: str
    state: RowState
    progress: str = ""
    left: float | None = None
    job: str = ""
    error: str = ""
    going: bool = False


@dataclass(frozen=True)
class Jobs:
    """SLURM's answer about our jobs: those not over, how others ended, and the error if it did not answer."""

    queued: dict[tuple[str, int], Queued] = field(default_factory=dict)
    ended: dict[tuple[str, int], Ended] = field(default_factory=dict)
    silence: str = ""

    @classmethod
    def asked(cls, folders: Sequence[Path]) -> "Jobs":
        """Query SLURM once, and only if some folder's work was submitted to it."""
        jobs = [submitted(folder) for folder in folders if not (folder / "record.json").exists()]
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
        return f"{ended.id} {ended.state}" if ended else WAITING if of == "queued" else ""


def rows(folders: Sequence[Path], jobs: Jobs) -> list[StatusRow]:
    """One row for each run's folder."""
    return [_row(folder, jobs) for folder in folders]


def stages(root: Path, jobs: Jobs) -> list[StatusRow]:
    """One row for each shared stage below a folder of runs whose job is queued or running."""
    rows = []
    for folder in stage_folders(root):
        job = submitted(folder)
        if jobs.has(job) or is_locked(folder):
            rows.append(_stage(folder, job, jobs))
    return rows


def stage_folders(root: Path) -> list[Path]:
    """The folders of stages that were submitted as separate jobs and are neither done nor diverged."""
    submitted_folders = {path.parent for path in (root / "stages").glob("*/job.json")}
    return sorted(
        folder
        for folder in submitted_folders
        if not any((folder / end).exists() for end in ("done.json", "diverged.json"))
    )


def summary(rows: Sequence[StatusRow]) -> str:
    """A line with the number of rows in each state."""
    counts = Counter(row.state for row in rows).most_common()
    total = f"{len(rows):,} run{'s' * (len(rows) != 1)}"
    return ": ".join(filter(None, [total, ", ".join(f"{n:,} {state}" for state, n in counts)]))


def duration(seconds: float) -> str:
    """A duration in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{n} {unit}" for n, unit in ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")) if n]
    return " ".join(parts[:2]) or "0 s"


def scores(content: dict[str, Any], most: int | None = None) -> str:
    """One line on a record's JSON: why there are no scores, or the protocol's label and the first `most` scores."""
    texts = [f"{s['title']} {s['value']:.2f}{s['unit']}" for s in content["scores"].values() if not s.get("table")]
    return content["reason"] or ": ".join(filter(None, [content["protocol"].get("label"), "  ".join(texts[:most])]))


def _row(folder: Path, jobs: Jobs) -> StatusRow:
    try:
        if (folder / "record.json").exists():
            record = read_state(folder / "record.json")
            return StatusRow(folder.name, record["state"], scores(record, 3))
        run_state = state(folder)
        job = submitted(folder)
        text = jobs.told(job, run_state) if job else ""
        going = run_state == "running" or jobs.has(job) or (run_state == "queued" and text != WAITING)
        error = _failure(folder) if run_state == "failed" else ""
        return _with_progress(folder, StatusRow(folder.name, run_state, job=text, error=error, going=going))
    except UserError as error:
        return StatusRow(folder.name, "unreadable", error=str(error).partition("\n")[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # a file with other contents
        return StatusRow(folder.name, "unreadable", error=f"{type(error).__name__}: {error}")


def _with_progress(folder: Path, row: StatusRow) -> StatusRow:
    """The row with the run's progress added, if the run was started."""
    path = folder / "progress.json"
    if row.state == "queued" or not path.exists():
        return row
    note = read_json(path)
    attempts = f"  (begun {note['attempt']} times)" if note.get("attempt", 1) > 1 else ""
    row = replace(
        row, progress=f"{note['what']} {note['done']:,}/{note['total']:,}  {note['words']}".rstrip() + attempts
    )
    if row.state != "running":
        return row
    return replace(row, left=note["seconds_left"], job=row.job or f"{note['host']}:{note['pid']}")


def _stage(folder: Path, job: Submitted | None, jobs: Jobs) -> StatusRow:
    lines, going = read_lines(folder / "metrics.jsonl"), is_locked(folder)
    stage_state: RunState = "running" if going else "interrupted" if lines else "queued"
    progress = f"step {lines[-1]['step']:,}" if lines else ""
    return StatusRow(
        f"stage {folder.name}", stage_state, progress, job=jobs.told(job, stage_state) if job else "", going=True
    )


def _failure(folder: Path) -> str:
    lines = (folder / "failure.md").read_text(encoding="utf-8", errors="replace").split("\n")
    return lines[2] if len(lines) > 2 else "failure.md does not say why"
