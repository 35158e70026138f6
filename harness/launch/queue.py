"""SLURM's commands squeue, sacct and scancel, which only this file calls; sbatch is called by submitit."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import read_json, valid_name, write_json

NAMES = "harness-"
"""Beginning of the last part of our jobs' names, which is the array's own."""

OURS = re.compile(rf"([\w.+-]+-)?{NAMES}[0-9a-f]{{8}}")
"""The names of our jobs; those of older versions had the last part only."""

PATIENCE = 60
"""Time limit of a SLURM command, in seconds; SLURM itself gives up after about 30 if the controller is down."""

HELD = "launch failed requeued held"
"""SLURM's reason for a job that waits forever: requeued on a node that lost contact and has not ended it yet."""

KEPT = "now-90days"
"""Start of the period for which accounting is queried."""


@dataclass(frozen=True)
class Submitted:
    """The job of a run's or stage's folder: the array's name, the index in it, the array's folder below the runs."""

    name: str
    task: int
    folder: str

    @property
    def key(self) -> tuple[str, int]:
        """Key of the job in `queue` and `history`."""
        return self.name, self.task

    def write(self, work: Path) -> None:
        """Write job.json into the folder of the run or stage; called before the job is submitted."""
        write_json(work / "job.json", {"launcher": "slurm", **asdict(self)})

    def logs(self, root: Path) -> list[Path]:
        """The job's log files so far, sorted by rank; all restarts of a job append to the same files."""
        logs = []
        for path in sorted((root / self.folder).glob("*_log.*")):
            match = re.fullmatch(r"(\d+)(?:_(?P<task>\d+))?_(?P<rank>\d+)_log\.(out|err)", path.name)
            if match and int(match["task"] or 0) == self.task:
                logs.append((int(match["rank"]), path))
        return [path for _, path in sorted(logs)]


@dataclass(frozen=True)
class Queued:
    """A job as squeue shows it: the id that SLURM's commands accept, the state, and the reason for it."""

    id: str
    state: str
    reason: str


Queue = dict[tuple[str, int], Queued]
"""Jobs by array name and index in the array."""


@dataclass(frozen=True)
class Ended:
    """An ended job in SLURM's accounting: its id, last state and exit code."""

    id: str
    state: str
    code: str


def submitted(work: Path) -> Submitted | None:
    """The job that a run's or stage's folder was submitted as; None if it never was, or job.json is unreadable."""
    try:
        note = read_json(work / "job.json")
        folder = "/".join(map(valid_name, str(note["folder"]).split("/")))
        return Submitted(str(note["name"]), int(note["task"]), folder)
    except (OSError, ValueError, KeyError, TypeError, UserError):
        return None


def find(work: Path, queue: Queue) -> Queued | None:
    """The queued or running job for a run's or stage's folder; None if there is none."""
    job = submitted(work)
    return queue.get(job.key) if job else None


def queue() -> Queue:
    """This user's queued and running jobs, by array name and index; a job outside an array has index 0.

    Empty if SLURM is not installed; UserError if it does not answer.
    """
    if not shutil.which("squeue"):
        return {}
    lines = _output("squeue", "--me", "--noheader", "--array", "--format=%j|%K|%i|%T|%r")
    rows = [line.split("|", 4) for line in lines if OURS.fullmatch(line.partition("|")[0])]
    return {(name, _index(task)): Queued(*about) for name, task, *about in rows}


def history(names: Iterable[str]) -> dict[tuple[str, int], Ended]:
    """How the jobs with these names ended; a job that will be requeued may have NODE_FAIL, so check `queue` first.

    Empty if the cluster has no accounting.
    """
    wanted = sorted(set(names))
    if not wanted or not shutil.which("sacct"):
        return {}
    fields = "--format=JobName,JobID,State,ExitCode"
    arguments = ("-X", "--noheader", "--parsable2", f"--starttime={KEPT}", fields, f"--name={','.join(wanted)}")
    try:
        lines = _output("sacct", *arguments)
    except UserError:  # accounting is optional: the queue and the disk say enough
        return {}
    ended: dict[tuple[str, int], Ended] = {}
    for name, job, state, code in (line.split("|") for line in lines):
        if re.fullmatch(r"\d+(_\d+)?", job):  # skip the waiting part of an array, 4711_[3-5]
            ended[name, _index(job.partition("_")[2])] = Ended(job, state.partition(" ")[0], code)
    return ended


def cancel(ids: Sequence[str]) -> None:
    """Cancel running or queued jobs; those that are already over are ignored."""
    if ids:
        _output("scancel", "--quiet", *ids)


def _index(task: str) -> int:
    return int(task) if task.isdigit() else 0


def _output(*command: str) -> list[str]:
    """Run a SLURM command and return the lines that it prints; UserError if it fails or does not answer."""
    try:
        process = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=PATIENCE, check=True
        )
    except subprocess.TimeoutExpired:
        problem = f"no answer in {PATIENCE} seconds"
    except OSError as error:
        problem = str(error)
    except subprocess.CalledProcessError as error:
        problem = error.stderr.strip() or f"exit status {error.returncode}"
    else:
        return process.stdout.splitlines()
    raise UserError(
        f"{command[0]} failed: {problem}\nRunning jobs continue, and nothing was changed. When `scontrol ping` "
        "finds the controller, type the same command again."
    )
