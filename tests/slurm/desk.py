"""A user at a login node: a folder, a small sweep, the commands typed there, and what the user can see of it."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from threading import Lock

from cluster import Cluster, call, until
from commandline import bare, harness, start

from harness import plan
from harness.launch import queue
from harness.runs import record
from harness.runs.record import Record
from harness.runs.run import Run

SHORT, LONG, LONGER = 10, 5_000, 40_000
"""Training steps that take a moment, some 10 seconds, and longer than the job with the time limit may take."""

CLUSTER = (
    "launcher=slurm", "launcher.gpus=0", "launcher.cpus=1", "launcher.minutes=10", "launcher.signal_seconds=20",
)  # fmt: skip

ALONE = Lock()
"""A lock, because Hydra can compose only one sweep at a time."""


def small(steps: int = SHORT) -> list[str]:
    """Overrides for runs of a few seconds, not counting training."""
    return [*bare("standard", steps), "checkpoint_seconds=1"]


class Desk:
    """A sweep of small runs, typed in its own folder."""

    def __init__(self, folder: Path, *overrides: str) -> None:
        folder.mkdir()
        self.folder, self.overrides, self.said = folder, overrides, ""
        with ALONE:
            self.runs: list[Run] = plan(*overrides, f"runs={folder / 'runs'}")

    def begin(self, *more: str) -> Popen[str]:
        """Start the command."""
        return start("-m", *self.overrides, *CLUSTER, *more, folder=self.folder)

    def type(self, *more: str, status: int = 0) -> str:
        """Run the command and return its output; AssertionError if its exit status is not `status`."""
        out, err = (process := self.begin(*more)).communicate(timeout=300)
        assert process.returncode == status, f"exit status {process.returncode}:\n{out[-3000:]}{err[-3000:]}"
        self.said = out + err
        return self.said

    def line(self, pattern: str) -> str:
        """The first line of output that matches a pattern, without fingerprints, folders and ids."""
        found = [line for line in self.said.splitlines() if re.search(pattern, line)]
        assert found, f"no line with '{pattern}' in:\n{self.said}"
        short = re.sub(r"-[0-9a-f]{8}\b", "", found[0].replace(f"{self.folder}/", ""))
        return re.sub(r"(?<= )\d+(_\d+)?\b", lambda id: f"ID{id[1] or ''}", short)

    @property
    def states(self) -> list[str]:
        """The states of the runs on disk."""
        return [run.state for run in self.runs]

    @property
    def submissions(self) -> int:
        """The number of arrays submitted so far."""
        return len(list(self.folder.glob("runs/jobs/*")))

    def done(self, seconds: float = 200) -> list[Record]:
        """Wait for all runs; return their records."""
        until(lambda: set(self.states) == {"done"}, f"{self.folder.name}: all runs are done", seconds)
        return [record.read(run.folder / "record.json") for run in self.runs]

    def job(self) -> queue.Queued | None:
        """The job of the first run, while there is one."""
        return queue.find(self.runs[0].folder, queue.queue())

    def waits(self) -> bool:
        """Whether the first run's job waits in the queue."""
        return (job := self.job()) is not None and job.state == "PENDING"

    def training(self) -> queue.Queued:
        """Wait until the first run trains and has a checkpoint; return its job."""
        checkpoints = self.runs[0].stage_runs[-1].folder / "checkpoints"
        until(lambda: checkpoints.exists() and any(checkpoints.iterdir()), f"{self.folder.name}: training", 120)
        job = self.job()
        assert job, "the run trains, but squeue does not show its job"
        return job

    def gone(self) -> None:
        """Wait until the first run's job has left the queue."""
        until(lambda: self.job() is None, f"{self.folder.name}: the job has ended", 120)

    def accounts(self) -> str:
        """The final state of the first run's job in SLURM's accounting."""
        submitted = queue.submitted(self.runs[0].folder)
        assert submitted
        ended = queue.Ended("", "", "")

        def known() -> bool:
            nonlocal ended
            ended = queue.history([submitted.name]).get(submitted.key, ended)
            return ended.state not in ("", "PENDING", "RUNNING", "COMPLETING")

        until(known, "accounting knows how the job ended", 60)
        return ended.state

    def log(self) -> str:
        """All output of the jobs' processes."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("runs/jobs/*/*_log.*")))


def processes(job: str, rank: int | None = None) -> list[int]:
    """The processes of a job; with a rank, only its Python processes of that rank."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            told = dict(entry.split("=", 1) for entry in path.read_bytes().decode().split("\0") if "=" in entry)
            name = (path.parent / "comm").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        wanted = rank is None or (told.get("SLURM_PROCID") == str(rank) and name.startswith("python"))
        if told.get("SLURM_JOB_ID") == job and wanted:
            found.append(int(path.parent.name))
    return found


def keepers(job: str) -> list[int]:
    """SLURM's own processes that watch a job's processes and report their end."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if path.read_bytes().startswith(f"slurmstepd: [{job}.".encode()):
                found.append(int(path.parent.name))
    return found


def kill(pids: list[int]) -> None:
    """Kill processes with -9."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def power_cut(cluster: Cluster, node: str) -> None:
    """End a node with everything that runs on it, and tell SLURM.

    If its jobs survived, SLURM would hold those that it restarts there: "launch failed requeued held".
    """
    jobs = call("squeue", "-h", "-w", node, "-o", "%A").split()
    cluster.kill(node)
    for job in jobs:
        kill(keepers(job))
        kill(processes(job))
    call("scontrol", "update", f"nodename={node}", "state=down", "reason=power")


def resumed(records: list[Record]) -> None:
    """Assert that the first run's last stage continued from a checkpoint."""
    cost = records[0].cost
    assert cost and cost.stages[-1].resumed, "the run began from nothing"


def undisturbed(folder: Path) -> None:
    """Execute the long run in the command's own process, for comparison."""
    folder.mkdir()
    status, out, err = harness("-m", *small(LONG), folder=folder)
    assert status == 0, out + err


def same_as_undisturbed(desk: Desk) -> None:
    """Assert that the record equals that of an undisturbed run in another folder."""
    reference = desk.folder.parent / "undisturbed" / "runs" / desk.runs[0].name / "record.json"
    until(reference.exists, "the undisturbed run is done", 200)
    ours, theirs = (record.read(path).result() for path in (desk.runs[0].folder / "record.json", reference))
    differing = {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}
    assert not differing, f"not the record of an undisturbed run: {differing}"
