"""Execute runs in processes of this machine, several at a time."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import submitit
import torch
from submitit.helpers import environment_variables

from harness.core.settings import settings
from harness.launch.jobs import Job, freeze, jobs
from harness.launch.show import Show
from harness.launch.snapshot import environment, snapshot
from harness.runs.run import Run
from harness.tracking.outbox import Multirun

A_WEEK = 7 * 24 * 60
"""Time limit of a job, in minutes; the default of submitit's local executor is 5."""


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
        if self.parallel < 1:
            raise ValueError(f"parallel must be 1 or more, not {self.parallel}")

    def run(self, runs: list[Run], parent: Multirun | None, show: Show) -> None:
        """Do the remaining work of the runs."""
        root, left = runs[0].root, freeze(runs)
        if not left:
            return
        folder, spread = _job_folder(root), {str(run.folder) for run in left if run.config.device in ("auto", "cuda")}
        waiting, gpus = jobs(left, parent), visible_gpus()
        going: list[tuple[submitit.Job[None], str | None]] = []
        with show.states(left) as refresh, environment_variables(**environment(snapshot(root))):
            while waiting or going:
                going = [(job, gpu) for job, gpu in going if not job.done()]
                # If a stage's job failed, its runs start anyway, and report the fault themselves.
                ready = [job for job in waiting if job.ready] or ([] if going else waiting)
                for job in ready[: self.parallel - len(going)]:
                    waiting.remove(job)
                    used = [gpu for _, gpu in going]
                    gpu = min(gpus, key=used.count) if gpus and job.work.folder in spread else None
                    going.append((_start(job, folder, gpu), gpu))
                refresh()
                time.sleep(0.5)


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
