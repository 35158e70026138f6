"""Submit runs as jobs to a SLURM cluster. The command ends after that; SLURM executes them."""

import io
import shlex
import shutil
from contextlib import redirect_stderr
from pathlib import Path
from typing import Annotated, ClassVar
from uuid import uuid4

import submitit
from pydantic import Field
from submitit.core.utils import FailedJobError

from harness.core.errors import UserError
from harness.core.files import locked_file
from harness.core.settings import settings
from harness.launch import queue as slurm
from harness.launch.jobs import Job, freeze, jobs
from harness.launch.queue import Submitted
from harness.launch.show import Show
from harness.launch.snapshot import SAFE, snapshot
from harness.runs.run import Run
from harness.tracking.outbox import Multirun

RESTARTS = 1000
"""How often a job may time out or be preempted and then continue; in practice unlimited."""

LONGEST = 1000
"""Maximum number of jobs in an array; SLURM's default limit, MaxArraySize, is 1001."""

A_YEAR = 366 * 24 * 60
"""The longest time limit, in minutes; jobs go on after it."""


@settings
class Slurm:
    """Submits runs to a SLURM cluster; configs/launcher/slurm.yaml explains the fields."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    gres: str | None
    gpus: Annotated[int, Field(ge=0, le=1024)]
    nodes: Annotated[int, Field(ge=1, le=100_000)]
    processes: Annotated[int, Field(ge=1, le=1024)] | None
    cpus: Annotated[int, Field(ge=1, le=10_000)]
    memory_gb: Annotated[float, Field(gt=0, le=1_000_000)] | None
    minutes: Annotated[int, Field(ge=1, le=A_YEAR)]
    signal_seconds: int
    parallel: Annotated[int, Field(ge=1, le=LONGEST)]
    setup: list[str]
    extra: dict[str, bool | int | float | str]
    elsewhere: ClassVar[bool] = True
    """Whether runs execute on other machines, whose devices cannot be checked here."""

    @property
    def size(self) -> int:
        """Number of processes that work on a run."""
        return self.nodes * self.tasks

    @property
    def tasks(self) -> int:
        """Number of processes on each node."""
        return self.processes or max(1, self.gpus)

    def __post_init__(self) -> None:
        if self.processes is not None and self.gpus and self.processes > self.gpus:
            raise ValueError(
                f"processes={self.processes} on each node cannot share {self.gpus} GPUs: let them be fewer"
            )
        if not 0 < self.signal_seconds < 60 * self.minutes:
            raise ValueError(f"signal_seconds must be between 0 and the time limit, not {self.signal_seconds}")

    def run(self, runs: list[Run], parent: Multirun | None, show: Show) -> None:
        """Submit the runs that have work left and are not queued yet, and show what was submitted."""
        if not shutil.which("sbatch"):
            raise UserError("There is no sbatch here: type this on a login node of the cluster, or say launcher=local.")
        root = runs[0].root
        with locked_file(root / "submit"):  # two equal commands at the same time submit once
            queue = slurm.queue()
            queued = {run.name: job for run in runs if (job := slurm.find(run.folder, queue))}
            left = freeze([run for run in runs if run.name not in queued])
            _show_skipped([run for run in runs if run not in left], queued, show)
            if left:
                self._submit_all(left, parent, queue, show)
        show.line("To look on: python -m harness status, logs RUN, or cancel; you may log out.")

    def _submit_all(self, runs: list[Run], parent: Multirun | None, queue: slurm.Queue, show: Show) -> None:
        """Submit the shared stages and then the runs; jobs that wait for the same stages form one array."""
        root, code = runs[0].root, snapshot(runs[0].root)
        trained = {stage_run.folder for run in runs for stage_run in run.stage_runs}
        ids = {folder: job.id for folder in trained if (job := slurm.find(folder, queue))}
        groups: dict[tuple[Path, ...], list[Job]] = {}
        for job in jobs(runs, parent, going=ids):  # parents before children, so dependencies come first
            before = tuple(stage_run.folder for stage_run in job.after if not stage_run.ended)
            groups.setdefault(before, []).append(job)
        for stages, group in groups.items():
            for array in (group[first : first + LONGEST] for first in range(0, len(group), LONGEST)):
                before = [ids[stage] for stage in stages]
                submitted = self._submit(array, before, root, code)
                ids |= {job.folder: id for job, id in zip(array, submitted, strict=True)}
                _show_submitted(array, submitted, before, show)

    def _submit(self, array: list[Job], before: list[str], root: Path, code: Path) -> list[str]:
        """Write job.json into each job's folder, submit the array, and return the ids; UserError if SLURM refuses."""
        # Note the array in each folder, so that the jobs can be found from there.
        name = f"{slurm.NAMES}{uuid4().hex[:8]}"
        place = Path("jobs", name.removeprefix(slurm.NAMES))
        for task, job in enumerate(array):
            Submitted(name, task, str(place)).write(job.folder)

        executor = submitit.AutoExecutor(root / place, cluster="slurm", slurm_max_num_timeout=RESTARTS)
        executor.update_parameters(
            name=name,
            nodes=self.nodes,
            tasks_per_node=self.tasks,
            gpus_per_node=None if "gpu" in (self.gres or "") else self.gpus or None,
            cpus_per_task=self.cpus,
            mem_gb=self.memory_gb,
            timeout_min=self.minutes,
            slurm_signal_delay_s=self.signal_seconds,
            slurm_partition=self.partition,
            slurm_account=self.account,
            slurm_qos=self.qos,
            slurm_constraint=self.constraint,
            slurm_gres=self.gres,
            slurm_array_parallelism=self.parallel,
            slurm_dependency=f"afterany:{':'.join(before)}" if before else None,
            slurm_setup=[*self.setup, *_exports(code)],
            slurm_additional_parameters={"requeue": True, **self.extra},
        )

        try:
            with redirect_stderr(io.StringIO()), executor.batch():  # the error contains what is printed
                submitted = [executor.submit(job.work) for job in array]
        except FailedJobError as error:
            raise UserError(
                f"SLURM refuses the jobs: {error}\nMend the fields of launcher=… and type the same command again."
            ) from None
        return [job.job_id for job in submitted]


def _exports(code: Path) -> list[str]:
    """Lines of the job script: import the copied code, and end all processes of a job if one fails."""
    first = f"export PYTHONPATH={shlex.quote(str(code))}${{PYTHONPATH:+:$PYTHONPATH}}"
    others = {**SAFE, "SLURM_KILL_BAD_EXIT": "1", "SRUN_CPUS_PER_TASK": "$SLURM_CPUS_PER_TASK"}
    return [first, *(f"export {name}={value}" for name, value in others.items())]


def _show_submitted(array: list[Job], ids: list[str], before: list[str], show: Show) -> None:
    """Show which jobs were submitted."""
    which = ids[0] if len(ids) == 1 else f"{ids[0]} … {ids[-1]}"
    after = f" (after {', '.join(before)})" if before else ""
    what = ", ".join(job.folder.name for job in array)
    show.line(f"submitted  {which}{after}: {what}")


def _show_skipped(runs: list[Run], queued: dict[str, slurm.Queued], show: Show) -> None:
    """Show which runs are not submitted, and why."""
    for run in runs:
        if job := queued.get(run.name):
            why = f"{job.state.lower()} as {job.id}" + (f" ({job.reason})" if job.reason != "None" else "")
            why += f"; `scontrol release {job.id}` lets it go on" * (job.reason == slurm.HELD)
        elif run.state == "failed":
            why = f"failed, see {run.folder / 'failure.md'}; retry=true tries it again"
        else:
            why = run.state
        show.line(f"left alone {run.name}: {why}")
