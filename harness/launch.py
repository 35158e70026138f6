"""Where runs are executed: in this process, in several of this machine, or on a cluster."""

import time
from pathlib import Path
from uuid import uuid4

import submitit
from submitit.helpers import environment_variables

from harness import tracking
from harness.errors import UserError, near
from harness.execute import RunFailed, execute
from harness.jobs import freeze, jobs
from harness.registry import make
from harness.runs import OVER, Config, Run
from harness.settings import settings
from harness.snapshot import environment, snapshot
from harness.submit import Slurm
from harness.terminal import Display, Reporter

A_WEEK = 7 * 24 * 60
"""Minutes: submitit's local executor ends a job after 5 unless told otherwise."""


def launch(runs: list[Run]) -> int:
    """Do what is left of the runs, here or elsewhere, and return 1 if one failed, else 0."""
    config = runs[0].config
    chosen = launcher(config)
    for run in {run.config["data"]["name"]: run for run in runs}.values():
        tracking.prepare(run.config)
    parent = tracking.parent(config, _title(runs), runs) if len(runs) > 1 else None
    for run in runs:
        if run.state in (*OVER, "failed"):
            tracking.push(run, parent)  # what the store is still missing of finished runs
    chosen.run(runs, parent)
    return int(any(run.state == "failed" for run in runs))


@settings
class Local:
    """One run after another, in this process; a failed one does not stop the others."""

    def run(self, runs: list[Run], parent: str | None) -> None:
        """Do what is left of the runs."""
        left = freeze(runs)
        with Display(len(left)) as display:
            for run in left:
                try:
                    display.finished(run, execute(run, display, parent))
                except RunFailed as error:
                    display.failed(run, str(error))


@settings
class Processes:
    """`parallel` at a time, each in a process of its own; a stage that runs share is trained by one job, first."""

    parallel: int

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"parallel must be 1 or more, not {self.parallel}")

    def run(self, runs: list[Run], parent: str | None) -> None:
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
