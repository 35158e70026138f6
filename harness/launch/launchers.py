"""Where runs are executed: in this process, in several of this machine, or on a cluster."""

import sys
import time
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import submitit
from submitit.helpers import environment_variables

from harness import tracking
from harness.cli.tables import Display, Reporter
from harness.core.distributed import Lost, join
from harness.core.errors import UserError, near
from harness.core.registry import make
from harness.core.settings import settings
from harness.launch.jobs import freeze, jobs
from harness.launch.slurm import Slurm
from harness.launch.snapshot import environment, snapshot
from harness.runs.execute import RunFailed, execute
from harness.runs.run import OVER, Config, Run
from harness.tracking.outbox import Multirun, owe
from harness.tracking.store import on

A_WEEK = 7 * 24 * 60
"""Minutes: submitit's local executor ends a job after 5 unless told otherwise."""


def launch(runs: list[Run]) -> int:
    """Do what is left of the runs, here or elsewhere, and return 1 if one failed, else 0."""
    chosen, world = launcher(runs[0].config), join()
    if world.size > 1 and not isinstance(chosen, Local):
        raise UserError("Started by torchrun or srun, its processes do the work themselves: say launcher=local.")
    chosen.run(runs, world.once(lambda: _mirrored(runs)))
    return world.once(lambda: int(any(run.state == "failed" for run in runs)))


def _mirrored(runs: list[Run]) -> Multirun | None:
    """Prepare the tracking store, and note that it is owed the runs that are over; what the runs hang under there."""
    if not on(runs[0].config):
        return None
    for run in {run.config["data"]["name"]: run for run in runs}.values():
        tracking.prepare(run.config)
    parent = tracking.multirun(_title(runs), runs) if len(runs) > 1 else None
    for run in runs:
        if run.state in (*OVER, "failed"):
            owe(run, parent)
    return parent


@settings
class Local:
    """One run after another, in this process and those of its world; a failed one stops the others only in a world,
    whose processes are out of step then.
    """

    elsewhere: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """How many processes work on a run."""
        return join().size

    def run(self, runs: list[Run], parent: Multirun | None) -> None:
        """Do what is left of the runs."""
        names = join().once(lambda: [run.name for run in freeze(runs)])
        left = [run for run in runs if run.name in names]
        with Display(len(left)) as display:
            for run in left:
                try:
                    display.finished(run, execute(run, display, parent))
                except RunFailed as error:
                    display.failed(run, str(error))
                    if join().size > 1:
                        sys.exit(1)
                except Lost as error:
                    sys.exit(f"{run.name}: {error}. The same command goes on from here.")


@settings
class Processes:
    """`parallel` at a time, each in a process of its own; a stage that runs share is trained by one job, first."""

    parallel: int
    elsewhere: ClassVar[bool] = False

    @property
    def size(self) -> int:
        """How many processes work on a run."""
        return 1

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"parallel must be 1 or more, not {self.parallel}")

    def run(self, runs: list[Run], parent: Multirun | None) -> None:
        """Do what is left of the runs."""
        root, left = runs[0].root, freeze(runs)
        if not left:
            return
        executor = submitit.AutoExecutor(folder=_own(root) / "%j", cluster="local")
        executor.update_parameters(timeout_min=A_WEEK)
        waiting, going = jobs(left, parent), []
        with Reporter(left) as reporter, environment_variables(**environment(snapshot(root))):
            while waiting or going:
                going = [job for job in going if not job.done()]
                # A stage that its own job could not train keeps nobody waiting: the runs meet its fault themselves.
                ready = [job for job in waiting if job.ready] or ([] if going else waiting)
                for job in ready[: self.parallel - len(going)]:
                    waiting.remove(job)
                    going.append(executor.submit(job.work))
                reporter.refresh()
                time.sleep(0.5)


LAUNCHERS = {"local": Local, "processes": Processes, "slurm": Slurm}
"""The launchers by the `name` in a file of configs/launcher; files of any name may mean the same launcher."""


def launcher(config: Config) -> Local | Processes | Slurm:
    """The launcher of a config; UserError where there is none of that name, or a field is wrong."""
    fields = dict(config["launcher"])
    name = fields.pop("name")
    if name not in LAUNCHERS:
        raise UserError(f"There is no launcher called '{name}'. {near(name, LAUNCHERS)}")
    return make(LAUNCHERS[name], "launcher", fields)


def _own(root: Path) -> Path:
    """A folder that no earlier command used: submitit takes what it finds there for its own jobs' results."""
    return root / "jobs" / uuid4().hex[:8]


def _title(runs: list[Run]) -> str:
    methods = dict.fromkeys(run.config["method"]["name"] for run in runs)
    return f"{', '.join(methods)} on {runs[0].config['data']['name']}"
