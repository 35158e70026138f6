"""Cancel runs: SLURM jobs with scancel, processes of this machine with SIGTERM. Finished work is kept."""

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from harness.core.errors import UserError, typed
from harness.launch import queue as slurm
from harness.launch.queue import Queued
from harness.launch.status import stage_folders
from harness.runs.folder import Fault, has_record, is_locked, readable, state
from harness.runs.progress import read_note
from harness.runs.run import find, folders, load

PATIENCE = 10
"""Seconds that processes have to save and exit before they are reported as still running."""


def cancel(words: Sequence[str], root: Path, every: bool) -> list[str | Fault]:
    """Cancel runs given by name or folder, or every one; return a line on each, and what could not be read.

    UserError if none is named.
    """
    if words and every:
        raise UserError("Name the runs to cancel, or set all=true; not both.")

    # Find the named runs, and those that are queued or running.
    named, unfinished = _find(words, root)
    queue = slurm.queue() if any(map(slurm.submitted, [*named, *unfinished])) else {}
    active = {folder: readable(folder, lambda path: _is_active(path, queue)) for folder in unfinished}
    going = [folder for folder, answer in active.items() if answer is True]
    if not words and not every:
        raise UserError(_what_to_type(going, root))

    chosen = going if every else named
    jobs = {folder: job for folder in chosen if (job := slurm.find(folder, queue))}
    others = [folder for folder in going if folder not in chosen]
    shared = _stage_jobs(root, chosen, others, queue)
    slurm.cancel([job.id for job in (*jobs.values(), *shared.values())])

    lines = [f"{folder.name}: cancelled job {job.id}, which was {job.state}" for folder, job in jobs.items()]
    lines += [
        f"stage {folder.name}: cancelled job {job.id}, as no other run needs it" for folder, job in shared.items()
    ]
    unread = [answer for folder, answer in active.items() if isinstance(answer, Fault) and folder not in chosen]
    return [*lines, *_stop_processes([folder for folder in chosen if folder not in jobs]), *unread]


def _is_active(folder: Path, queue: slurm.Queue) -> bool:
    return slurm.find(folder, queue) is not None or is_locked(folder)


def _find(words: Sequence[str], root: Path) -> tuple[list[Path], list[Path]]:
    """The folders of the named runs, and of all runs that have no record yet."""
    unfinished = [folder.resolve() for folder in folders(root) if not has_record(folder)]
    return list(dict.fromkeys(find(word, root) for word in words)), unfinished


def _what_to_type(going: Sequence[Path], root: Path) -> str:
    if not going:
        return "No run is queued with SLURM or running: there is nothing to cancel."
    names = " ".join(folder.name for folder in going)
    where = "" if str(root) == "runs" else f" {typed('runs', root)}"
    return (
        f"Name the runs to cancel, or cancel all of these with all=true. Type: python -m harness cancel {names}{where}"
    )


def _stage_jobs(root: Path, chosen: Sequence[Path], others: Sequence[Path], queue: slurm.Queue) -> dict[Path, Queued]:
    """The jobs of stages for which runs of `chosen` may wait, but no run of `others` does."""
    stages: dict[Path, Queued] = {}
    for stage in stage_folders(root):
        job, relatives = slurm.find(stage, queue), [folder for folder in chosen if _same_data_and_seed(folder, stage)]
        if job and relatives and not any(_needs(folder, stage) for folder in others):
            stages[stage] = job
    return stages


def _same_data_and_seed(run: Path, stage: Path) -> bool:
    """Whether a run and a stage have the same data and seed, by the middle parts of their names."""
    return run.name.split("-")[1:-1] == stage.name.split("-")[1:-1]


def _needs(run: Path, stage: Path) -> bool:
    """Whether a run needs a stage, or may need it; only runs of the same data and seed are loaded, with torch."""
    if not _same_data_and_seed(run, stage):
        return False
    names = readable(run, lambda folder: [stage_run.folder.name for stage_run in load(folder).stage_runs])
    return isinstance(names, Fault) or stage.name in names


def _stop_processes(chosen: Sequence[Path]) -> list[str | Fault]:
    """Send SIGTERM to the processes that work on runs, and wait for them; return a line on each run."""
    answers = {folder: readable(folder, _stop) for folder in chosen}
    end = time.monotonic() + PATIENCE
    while (
        any(isinstance(answer, int) and is_locked(folder) for folder, answer in answers.items())
        and time.monotonic() < end
    ):
        time.sleep(0.1)
    lines: list[str | Fault] = []
    for folder, answer in answers.items():
        text = _result(folder, answer) if isinstance(answer, int) else answer
        lines.append(text if isinstance(text, Fault) else f"{folder.name}: {text}")
    return lines


def _result(folder: Path, pid: int) -> str:
    if is_locked(folder):
        return f"process {pid} received SIGTERM and may still be saving; if it does not end, type: kill -9 {pid}"
    return f"process {pid} has stopped; with launcher=local this ended the whole command"


def _stop(folder: Path) -> int | str:
    """Send SIGTERM to the process of a run; return its id, or the reason why none was signalled."""
    if not is_locked(folder):
        return f"it is {state(folder)}: no job and no process works on it"
    note = read_note(folder)
    if note is None:
        return "a process has just started it: try again in a few seconds"
    host, pid = note.host, note.pid
    if host != socket.gethostname():
        return f"process {pid} works on it on another machine, {host}, and is not a job: end it there with kill {pid}"
    if not _has_open(pid, folder / "lock"):
        return f"it is locked, but not by process {pid}, which its progress.json names: try again in a few seconds"
    os.kill(pid, signal.SIGTERM)
    return pid


def _has_open(pid: int, file: Path) -> bool:
    """Whether a process has a file open; its id may have been reused by another process since."""
    try:
        return str(file.resolve()) in {opened.path for opened in psutil.Process(pid).open_files()}
    except psutil.Error:
        return False
