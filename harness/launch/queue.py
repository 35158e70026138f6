"""SLURM's commands: what is queued, how jobs ended, and ending them. Nothing else calls them, sbatch apart."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import read_json, write_json

NAMES = "harness-"
"""What the names of all our jobs begin with."""

PATIENCE = 60
"""Seconds that a command of SLURM's may take; its own ones end after about 30 where the controller is down."""

HELD = "launch failed requeued held"
"""Why a job waits for ever: it was begun again on a node that had lost touch, and not yet ended it there."""

KEPT = "now-90days"
"""How far back accounting is asked how jobs ended."""


@dataclass(frozen=True)
class Submitted:
    """What a folder of work was submitted as: an array's name, the index in it, the array's folder below the runs."""

    name: str
    task: int
    folder: str

    @property
    def key(self) -> tuple[str, int]:
        """What `queue` and `history` know it by."""
        return self.name, self.task

    def write(self, work: Path) -> None:
        """Note it in the folder of the run or stage, before it is submitted."""
        write_json(work / "job.json", {"launcher": "slurm", **asdict(self)})

    def logs(self, root: Path) -> list[Path]:
        """Its logs so far, those of its first process first; all restarts of a job append to the same ones."""
        found = []
        for path in sorted((root / self.folder).glob("*_log.*")):
            match = re.fullmatch(r"(\d+)(?:_(?P<task>\d+))?_(?P<rank>\d+)_log\.(out|err)", path.name)
            if match and int(match["task"] or 0) == self.task:
                found.append((int(match["rank"]), path))
        return [path for _, path in sorted(found)]


@dataclass(frozen=True)
class Queued:
    """A job as squeue shows it: its id, as SLURM's commands take it, its state, and why it is in it."""

    id: str
    state: str
    reason: str


Queue = dict[tuple[str, int], Queued]
"""Jobs by their name and their index in an array."""


@dataclass(frozen=True)
class Ended:
    """A job as accounting remembers it: its id, its last state, its exit code."""

    id: str
    state: str
    code: str


def submitted(work: Path) -> Submitted | None:
    """What a run's or stage's folder was submitted as, if it ever was, and if the note of that can be read."""
    try:
        found = read_json(work / "job.json")
        return Submitted(str(found["name"]), int(found["task"]), str(found["folder"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find(work: Path, queue: Queue) -> Queued | None:
    """The job in the queue that works, or will, on a run's or stage's folder."""
    found = submitted(work)
    return queue.get(found.key) if found else None


def queue() -> Queue:
    """This user's jobs that are not over, by name and index in their array; a job that is no array has index 0.

    Empty where SLURM is not installed; UserError where it does not answer.
    """
    if not shutil.which("squeue"):
        return {}
    lines = _answer("squeue", "--me", "--noheader", "--array", "--format=%j|%K|%i|%T|%r")
    found = [line.split("|", 4) for line in lines if line.startswith(NAMES)]
    return {(name, _index(task)): Queued(*about) for name, task, *about in found}


def history(names: Iterable[str]) -> dict[tuple[str, int], Ended]:
    """How the jobs of these names ended, or NODE_FAIL where one is about to begin again: believe `queue` first.

    Empty where the cluster keeps no accounts.
    """
    wanted = sorted(set(names))
    if not wanted or not shutil.which("sacct"):
        return {}
    fields = "--format=JobName,JobID,State,ExitCode"
    asked = ("-X", "--noheader", "--parsable2", f"--starttime={KEPT}", fields, f"--name={','.join(wanted)}")
    try:
        lines = _answer("sacct", *asked)
    except UserError:  # accounts are a comfort: without them, the queue and the disk tell enough
        return {}
    ended: dict[tuple[str, int], Ended] = {}
    for name, job, state, code in (line.split("|") for line in lines):
        if re.fullmatch(r"\d+(_\d+)?", job):  # not the part of an array that waits, 4711_[3-5]
            ended[name, _index(job.partition("_")[2])] = Ended(job, state.partition(" ")[0], code)
    return ended


def cancel(ids: Sequence[str]) -> None:
    """End jobs, or take them out of the queue; those that are over already are passed over."""
    if ids:
        _answer("scancel", "--quiet", *ids)


def _index(task: str) -> int:
    return int(task) if task.isdigit() else 0


def _answer(*command: str) -> list[str]:
    """The lines that a command of SLURM's prints; UserError where it fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except subprocess.TimeoutExpired:
        problem = f"no answer in {PATIENCE} seconds"
    except OSError as error:
        problem = str(error)
    except subprocess.CalledProcessError as error:
        problem = error.stderr.strip() or f"exit status {error.returncode}"
    else:
        return done.stdout.splitlines()
    raise UserError(
        f"{command[0]} cannot tell: {problem}\nJobs that run go on, and nothing was changed. Once `scontrol ping` "
        "finds the controller, type the same command again."
    )
