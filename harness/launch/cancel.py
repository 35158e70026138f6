"""Ending runs: jobs by SLURM, processes of this machine by SIGTERM. What was done so far stays."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from harness.core.errors import UserError
from harness.core.files import read_json
from harness.launch import queue as slurm
from harness.launch.queue import Queued
from harness.launch.status import stage_folders
from harness.runs.folder import is_locked, state
from harness.runs.run import find, folders, load

PATIENCE = 10
"""Seconds that processes get to save and leave before we say that they are still there."""


def cancel(words: Sequence[str], root: Path, every: bool) -> list[str]:
    """End the runs of some names or folders, or every one; a line on each. UserError where none is named."""
    if words and every:
        raise UserError("Name the runs, or say all=true; not both.")
    named, unfinished = _find(words, root)
    queue = slurm.queue() if any(map(slurm.submitted, [*named, *unfinished])) else {}
    going = [folder for folder in unfinished if slurm.find(folder, queue) or is_locked(folder)]
    if not words and not every:
        raise UserError(_what_to_type(going))
    chosen = going if every else named
    jobs = {folder: job for folder in chosen if (job := slurm.find(folder, queue))}
    others = [folder for folder in going if folder not in chosen]
    shared = _only_theirs(root, chosen, others, queue)
    slurm.cancel([job.id for job in (*jobs.values(), *shared.values())])
    lines = [f"{folder.name}: job {job.id} is cancelled, it was {job.state}" for folder, job in jobs.items()]
    lines += [f"stage {folder.name}: job {job.id} is cancelled, no other run waits" for folder, job in shared.items()]
    return lines + _processes([folder for folder in chosen if folder not in jobs])


def _find(words: Sequence[str], root: Path) -> tuple[list[Path], list[Path]]:
    """The folders of the runs that are named, and of all that are not over."""
    unfinished = [folder.resolve() for folder in folders(root) if not (folder / "record.json").exists()]
    return list(dict.fromkeys(find(word, root) for word in words)), unfinished


def _what_to_type(going: Sequence[Path]) -> str:
    if not going:
        return "Nothing is queued with SLURM, and nothing runs: there is nothing to cancel."
    names = " ".join(folder.name for folder in going)
    return f"Say which runs to cancel, or all of these: all=true. Type: python -m harness cancel {names}"


def _only_theirs(root: Path, chosen: Sequence[Path], others: Sequence[Path], queue: slurm.Queue) -> dict[Path, Queued]:
    """The jobs of stages that runs of `chosen` may wait for, and none of the others does."""
    found: dict[Path, Queued] = {}
    for stage in stage_folders(root):
        job, kin = slurm.find(stage, queue), [folder for folder in chosen if _kin(folder, stage)]
        if job and kin and not any(_waits(folder, stage) for folder in others):
            found[stage] = job
    return found


def _kin(run: Path, stage: Path) -> bool:
    """Whether a run is of the data and seed of a stage: both names have them between two dashes."""
    return run.name.split("-")[1:-1] == stage.name.split("-")[1:-1]


def _waits(run: Path, stage: Path) -> bool:
    """Whether a run needs a stage; only kin are looked into, which takes torch."""
    return _kin(run, stage) and any(training.folder.name == stage.name for training in load(run).stage_runs)


def _processes(chosen: Sequence[Path]) -> list[str]:
    """Tell the processes that work on runs to leave; a line on each run."""
    told = {folder: _tell(folder) for folder in chosen}
    end = time.monotonic() + PATIENCE
    while any(isinstance(said, int) and is_locked(folder) for folder, said in told.items()) and time.monotonic() < end:
        time.sleep(0.1)
    return [
        f"{folder.name}: {said if isinstance(said, str) else _remaining(folder, said)}" for folder, said in told.items()
    ]


def _remaining(folder: Path, pid: int) -> str:
    if is_locked(folder):
        return f"process {pid} was told to stop and may be saving; if it stays, end it: kill -9 {pid}"
    return f"process {pid} has stopped; with launcher=local it was its whole command"


def _tell(folder: Path) -> int | str:
    """The process that was told to stop, or why none was."""
    if not is_locked(folder):
        return f"it is {state(folder)}: no job and no process works on it"
    seen = read_json(folder / "progress.json") if (folder / "progress.json").exists() else {}
    host, pid = seen.get("host"), seen.get("pid", 0)
    if not host:
        return "a process has just begun it: try again in a few seconds"
    if host != socket.gethostname():
        return f"process {pid} works on it on {host}, which is another machine, and no job: end it there, kill {pid}"
    if not _holds(pid, folder / "lock"):
        return f"it is locked, but not by process {pid} of its progress.json: try again in a few seconds"
    os.kill(pid, signal.SIGTERM)
    return pid


def _holds(pid: int, file: Path) -> bool:
    """Whether a process of ours has a file open; its number may by now be that of another process."""
    try:
        return str(file.resolve()) in {opened.path for opened in psutil.Process(pid).open_files()}
    except psutil.Error:
        return False
