"""Execute runs in processes of this machine, several at a time."""

import time
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import submitit
from submitit.helpers import environment_variables

from harness.core.settings import settings
from harness.launch.jobs import freeze, jobs
from harness.launch.show import Show
from harness.launch.snapshot import environment, snapshot
from harness.runs.run import Run
from harness.tracking.outbox import Multirun

A_WEEK = 7 * 24 * 60
"""Time limit of a job, in minutes; the default of submitit's local executor is 5."""


@settings
class Processes:
    """Executes `parallel` runs at a time, each in its own process; a shared stage is trained first, by one job."""

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
        executor = submitit.AutoExecutor(folder=_job_folder(root) / "%j", cluster="local")
        executor.update_parameters(timeout_min=A_WEEK)
        waiting, going = jobs(left, parent), []
        with show.states(left) as refresh, environment_variables(**environment(snapshot(root))):
            while waiting or going:
                going = [job for job in going if not job.done()]
                # If a stage's job failed, its runs start anyway, and report the fault themselves.
                ready = [job for job in waiting if job.ready] or ([] if going else waiting)
                for job in ready[: self.parallel - len(going)]:
                    waiting.remove(job)
                    going.append(executor.submit(job.work))
                refresh()
                time.sleep(0.5)


def _job_folder(root: Path) -> Path:
    """A folder that no earlier command used, as submitit would take old files there for results of new jobs."""
    return root / "jobs" / uuid4().hex[:8]
