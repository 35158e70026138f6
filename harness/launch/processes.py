"""Execute runs in processes of this machine, several at a time."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import submitit
import torch
from submitit.helpers import environment_variables

from harness.core.settings import settings
from harness.core.signals import in_main_thread
from harness.launch.jobs import Job, freeze, jobs, note_waits
from harness.launch.show import Show
from harness.launch.snapshot import environment, snapshot
from harness.runs.run import Run
from harness.tracking.outbox import Multirun

AGAIN = 2
"""Seconds until a job that has not ended is told again to leave; while it starts, it does not hear it."""

A_WEEK = 7 * 24 * 60
"""Time limit of a job, in minutes; the default of submitit's local executor is 5."""

MOST = 1024
"""The most processes at a time."""


@settings
class Processes:
    """Executes `parallel` runs at a time, each in its own process; a shared stage is trained first, by one job.

    With device=auto or cuda a job sees one GPU, that with the fewest jobs.
    """

    parallel: int
    elsewhere: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """Number of processes that work on a run."""
        return 1

    def __post_init__(self) -> None:
        if not 1 <= self.parallel <= MOST:
            raise ValueError(f"parallel must be 1 or more, and at most {MOST:,}, not {self.parallel}")

    def run(self, runs: list[Run], sweep: Multirun | None, show: Show) -> None:
        """Do the remaining work of the runs; if this process is interrupted, its jobs save and leave."""
        root, left = runs[0].root, freeze(runs)
        if not left:
            return
        folder, spread = _job_folder(root), {str(run.folder) for run in left if run.config.device in ("auto", "cuda")}
        waiting, gpus = jobs(left, sweep), visible_gpus()
        note_waits(left, waiting)
        going: list[tuple[submitit.Job[None], str | None]] = []
        with show.states(left) as refresh, environment_variables(**environment(snapshot(root))):
            try:
                while waiting or going:
                    going = [(job, gpu) for job, gpu in going if not job.done()]
                    # If a stage's job failed, its runs start anyway, and report the fault themselves.
                    ready = [job for job in waiting if job.ready] or ([] if going else waiting)
                    for job in ready[: self.parallel - len(going)]:
                        waiting.remove(job)
                        used = [gpu for _, gpu in going]
                        gpu = min(gpus, key=used.count) if gpus and job.work.folder in spread else None
                        with _without_interrupts():
                            going.append((_start(job, folder, gpu), gpu))
                    refresh()
                    time.sleep(0.5)
            except BaseException:
                _end([job for job, _ in going])
                raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that are started inside ignore Ctrl-C, which a terminal sends to all: this process tells them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread() else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _end(going: Sequence[submitit.Job[Any]]) -> None:
    """Have jobs save and leave, and wait for that; a job's id is that of the process which passes signals on to it."""
    while going := [job for job in going if not job.done()]:
        for job in going:
            with suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)
        time.sleep(AGAIN)


def visible_gpus() -> list[str]:
    """The GPUs that this process sees, by their names for CUDA_VISIBLE_DEVICES: indices, or UUIDs if it holds these."""
    number = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(index) for index in range(number)] if named is None else named.replace(" ", "").split(",")[:number]


def _start(job: Job, folder: Path, gpu: str | None) -> submitit.Job[None]:
    """Start a job that sees this GPU, or with None what this process sees; submitit itself would hide all GPUs."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") if gpu is None else gpu
    change = ["-u", "CUDA_VISIBLE_DEVICES"] if visible is None else [f"CUDA_VISIBLE_DEVICES={visible}"]
    python = shlex.join(["env", *change, sys.executable])
    executor = submitit.AutoExecutor(folder=folder / "%j", cluster="local", local_python=python)
    executor.update_parameters(timeout_min=A_WEEK)
    return executor.submit(job.work)


def _job_folder(root: Path) -> Path:
    """A folder that no earlier command used, as submitit would take old files there for results of new jobs."""
    return root / "jobs" / uuid4().hex[:8]
