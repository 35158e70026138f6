"""Submit runs as jobs to a SLURM cluster. The command ends after that; SLURM executes them."""

import io
import math
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import uuid4

import submitit
from pydantic import Field
from submitit.core.utils import FailedJobError

from harness.core.errors import UserError, near
from harness.core.files import locked_file
from harness.core.registry import make, names
from harness.core.settings import settings
from harness.core.text import counted
from harness.launch import queue as slurm
from harness.launch.jobs import Job, StageJob, freeze, jobs, note_waits
from harness.launch.queue import Submitted
from harness.launch.show import Show
from harness.launch.snapshot import SAFE, snapshot
from harness.runs import pace
from harness.runs.config import Config
from harness.runs.pace import Paces
from harness.runs.run import Run
from harness.tracking.outbox import Multirun

RESTARTS = 1000
"""How often a job may time out or be preempted and then continue; in practice unlimited."""

LONGEST = 1000
"""Maximum number of jobs in an array; SLURM's default limit, MaxArraySize, is 1001."""

A_YEAR = 366 * 24 * 60
"""The longest time limit, in minutes; jobs go on after it."""

STEP = 10
"""Time limits from estimates are multiples of these minutes, so that similar jobs share an array."""

TITLE = 100
"""Characters that a job's name has for what its array does; accounting keeps 255 of a name."""

TOO_MANY = re.compile(r"\w*SubmitJob\w*|Invalid job array specification")
"""What sbatch says where a limit on the number of submitted jobs is met, or on the size of an array."""


class TooMany(Exception):
    """SLURM takes no array of this size now; the text is the name of the limit."""


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
    margin: Annotated[float, Field(ge=1, le=100)] | None = None
    python: str | None = None
    srun: list[str] = field(default_factory=list)
    stage_in: str | None = None
    dry: bool = False
    per_method: dict[str, dict[str, Any]] = field(default_factory=dict)
    per_stage: dict[str, dict[str, Any]] = field(default_factory=dict)
    elsewhere: ClassVar[bool] = True
    """Whether runs execute on other machines, whose devices cannot be checked here."""

    @classmethod
    def of(cls, config: Config, stage: str = "") -> "Slurm":
        """The launcher of a run's job, or of the job of a shared stage; UserError if a field is wrong.

        It has the fields that `per_method` changes for the run's method, or `per_stage` for the stage.
        """
        fields = {key: value for key, value in config.launcher.items() if key != "name"}
        whole = make(cls, "launcher", fields)
        for method in whole.per_method:
            if method not in (known := names("method")):
                raise UserError(f"launcher.per_method: there is no method called '{method}'. {near(method, known)}")
        group, key = ("per_stage", stage) if stage else ("per_method", config.method["name"])
        changes = getattr(whole, group).get(key)
        return make(cls, f"launcher.{group}.{key}", fields | changes) if changes else whole

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
                f"{self.gpus} GPUs on each node are too few for processes={self.processes}: choose fewer processes"
            )
        if not 0 < self.signal_seconds < 60 * self.minutes:
            raise ValueError(f"signal_seconds must be between 0 and the time limit, not {self.signal_seconds}")

    def run(self, runs: list[Run], sweep: Multirun | None, show: Show) -> None:
        """Submit the runs that have work left and are not queued yet, and show what was submitted.

        With `dry`, show the scripts instead.
        """
        if self.dry:
            for script in scripts(runs):
                show.line(script)
            return
        if not shutil.which("sbatch"):
            raise UserError("There is no sbatch here: type this on a login node of the cluster, or set launcher=local.")
        root = runs[0].root
        with locked_file(root / "submit"):  # two equal commands at the same time submit once
            queue = slurm.queue()
            queued = {run.name: job for run in runs if (job := slurm.find(run.folder, queue))}
            left = freeze([run for run in runs if run.name not in queued])
            _show_skipped([run for run in runs if run not in left], queued, show)
            if left:
                _submit_all(left, sweep, queue, show)
        show.line("You may log out. To follow the runs: python -m harness status, logs RUN, or cancel.")

    def submit(self, array: list[Job], before: list[str], root: Path, code: Path) -> list[str]:
        """Write job.json into each job's folder, submit the array, and return the ids.

        TooMany if a limit on submitted jobs is met, UserError if SLURM refuses for another reason.
        """
        # Note the array in each folder, so that the jobs can be found from there.
        key = uuid4().hex[:8]
        name, place = f"{_title(array)}-{slurm.NAMES}{key}", Path("jobs", key)
        for task, job in enumerate(array):
            Submitted(name, task, str(place)).write(job.folder)

        executor = submitit.SlurmExecutor(root / place, max_num_timeout=RESTARTS, python=self.python)
        executor.update_parameters(**self._parameters(name, before, code))
        try:
            with redirect_stderr(io.StringIO()), executor.batch():  # the error contains what is printed
                submitted = [executor.submit(job.work) for job in array]
        except FailedJobError as error:
            if limit := TOO_MANY.search(str(error)):
                shutil.rmtree(root / place)
                raise TooMany(limit[0]) from None
            raise UserError(
                f"SLURM refused the jobs: {error}\nCorrect the fields of launcher=… and type the same command again."
            ) from None
        return [job.job_id for job in submitted]

    def script(self, array: list[Job], before: list[str], root: Path) -> str:
        """The script that `submit` would hand to sbatch; nothing is written."""
        paper = OnPaper(root / "jobs" / "KEY", max_num_timeout=RESTARTS, python=self.python)
        paper.update_parameters(**self._parameters(f"{_title(array)}-{slurm.NAMES}KEY", before, root / "code" / "KEY"))
        return paper.script(len(array))

    def _parameters(self, name: str, before: list[str], code: Path) -> dict[str, Any]:
        """What sbatch gets, by submitit's names."""
        asked = {
            "job_name": name,
            "nodes": self.nodes,
            "ntasks_per_node": self.tasks,
            "gpus_per_node": None if "gpu" in (self.gres or "") else self.gpus or None,
            "cpus_per_task": self.cpus,
            "mem": self.memory_gb and _memory(self.memory_gb),
            "time": self.minutes,
            "signal_delay_s": self.signal_seconds,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "gres": self.gres,
            "array_parallelism": self.parallel,
            "dependency": f"afterany:{':'.join(before)}" if before else None,
            "setup": [*self.setup, *_exports(code)],
            "srun_args": self.srun,
            "additional_parameters": {"requeue": True, **self.extra},
        }
        return {key: value for key, value in asked.items() if value is not None}


class OnPaper(submitit.SlurmExecutor):
    """Makes the scripts of jobs, also where there is no SLURM, and submits none."""

    @classmethod
    def affinity(cls) -> int:
        """SLURM's commands are not needed."""
        return 1

    def script(self, count: int) -> str:
        """The script of an array of so many jobs, or of a single job."""
        self.parameters |= {"map_count": count} if count > 1 else {}
        return self._make_submission_file_text(self._submitit_command_str, "")


def scripts(runs: list[Run]) -> Iterator[str]:
    """What would be submitted for runs that are new: for each array its jobs and its script. Nothing is written."""
    root, ids = runs[0].root, dict[Path, str]()
    for stages, asked, array in _arrays(runs, jobs(runs, None), Paces(root)):
        ids |= {job.folder: f"ID_OF_{job.folder.name}" for job in array}
        text = asked.script(array, [ids[stage] for stage in stages], root)
        yield "\n".join([f"# {counted(len(array), 'job')}: {', '.join(job.folder.name for job in array)}", text])


def _submit_all(runs: list[Run], sweep: Multirun | None, queue: slurm.Queue, show: Show) -> None:
    """Submit the shared stages and then the runs, until SLURM takes no more of them."""
    root, code = runs[0].root, snapshot(runs[0].root)
    trained = {stage_run.folder for run in runs for stage_run in run.stage_runs}
    ids = {folder: job.id for folder in trained if (job := slurm.find(folder, queue))}

    # Submit each group as an array, or as several where SLURM takes only shorter ones.
    todo = jobs(runs, sweep, going=ids)
    note_waits(runs, todo)
    waiting = _arrays(runs, todo, Paces(root))
    most = LONGEST
    while waiting:
        stages, asked, group = waiting[0]
        array, before = group[:most], [ids[stage] for stage in stages]
        try:
            submitted = asked.submit(array, before, root, code)
        except TooMany as limit:
            if len(array) == 1:
                _show_rest([job.folder.name for *_, group in waiting for job in group], str(limit), show)
                break
            most = -(-len(array) // 2)
            continue
        ids |= {job.folder: id for job, id in zip(array, submitted, strict=True)}
        _show_submitted(array, submitted, before, show)
        del group[:most]
        if not group:
            waiting.pop(0)


def _arrays(runs: list[Run], todo: list[Job], paces: Paces) -> list[tuple[tuple[Path, ...], Slurm, list[Job]]]:
    """The jobs in groups that wait for the same stages and ask for the same resources, in the order of dependencies."""
    by_folder = {str(run.folder): run for run in runs}
    groups: dict[tuple[tuple[Path, ...], str], tuple[Slurm, list[Job]]] = {}
    for job in todo:
        stages = tuple(stage_run.folder for stage_run in job.after if not stage_run.ended)
        asked = _launcher(job, by_folder[job.work.folder], paces)
        groups.setdefault((stages, repr(asked)), (asked, []))[1].append(job)
    return [(stages, asked, array) for (stages, _), (asked, array) in groups.items()]


def _launcher(job: Job, run: Run, paces: Paces) -> Slurm:
    """What a job asks for, with a time limit from its estimate where `margin` says so and earlier runs tell one."""
    stage = run.stage_runs[job.work.index] if isinstance(job.work, StageJob) else None
    asked = Slurm.of(run.config, stage.name if stage else "")
    if asked.margin is None:
        return asked
    # Add up what the job does itself; what it waits for is done by others.
    own = [stage] if stage else [stage_run for stage_run in run.stage_runs if stage_run not in job.after]
    seconds = [pace.stage_seconds(run, stage_run, paces, None, asked.size) for stage_run in own]
    seconds += [] if stage else [pace.evaluation_seconds(run, paces, None, asked.size)]
    known = [one for one in seconds if one is not None]
    if len(known) < len(seconds):
        return asked
    minutes = STEP * (1 + math.ceil((asked.margin * sum(known) + asked.signal_seconds) / 60 / STEP))
    return replace(asked, minutes=min(minutes, asked.minutes))


def _title(array: Sequence[Job]) -> str:
    """What the jobs of an array are about, as their name says it: methods or stages, data, seeds."""
    parts = zip(*(job.folder.name.rpartition("-")[0].split("-", 2) for job in array), strict=True)
    return "-".join(_joined(list(dict.fromkeys(part))) for part in parts)[:TITLE]


def _joined(values: list[str]) -> str:
    """The values in one word, of many only the first: at+jem, s0+9more."""
    return "+".join(values) if len(values) <= 4 else f"{values[0]}+{len(values) - 1}more"


def _memory(gb: float) -> str:
    """Gigabytes as sbatch takes them, in whole units."""
    return f"{gb:.0f}GB" if gb == round(gb) else f"{round(1024 * gb)}MB"


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


def _show_rest(names: list[str], limit: str, show: Show) -> None:
    """Show what SLURM did not take, and the way out."""
    show.line(f"not submitted yet: {', '.join(names)}")
    show.line(
        f"SLURM takes no more jobs of yours now ({limit}). When some have ended, type the same command again: it "
        "submits the next ones."
    )


def _show_skipped(runs: list[Run], queued: dict[str, slurm.Queued], show: Show) -> None:
    """Show which runs are not submitted, and why."""
    for run in runs:
        if job := queued.get(run.name):
            why = f"{job.state.lower()} as {job.id}" + (f" ({job.reason})" if job.reason != "None" else "")
            why += f"; `scontrol release {job.id}` releases it" * (job.reason == slurm.HELD)
        elif run.state == "failed":
            why = f"failed, see {run.folder / 'failure.md'}; retry=true tries it again"
        else:
            why = run.state
        show.line(f"not submitted {run.name}: {why}")
