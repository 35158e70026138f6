"""Where runs are executed: in this process, or in several of this machine through submitit."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from harness import tracking
from harness.errors import UserError, near
from harness.execute import RunFailed, Silent, execute, train_alone
from harness.registry import make
from harness.runs import Config, Run, Training, load
from harness.settings import settings
from harness.terminal import Display, Reporter

A_WEEK = 7 * 24 * 60
"""Minutes: submitit's local executor ends a job after 5 unless told otherwise."""


def freeze(runs: list[Run]) -> list[Run]:
    """Write the configs of those runs that have work left and return them; a failed run only if told to retry."""
    left = [run for run in runs if run.state in ("new", "queued", "interrupted") or _retried(run)]
    for run in left:
        run.freeze()
    return left


def launch(runs: list[Run]) -> int:
    """Do what is left of the runs, and return 1 if one failed, else 0."""
    config = runs[0].config
    for run in {run.config["data"]["name"]: run for run in runs}.values():
        tracking.prepare(run.config)
    left = freeze(runs)
    parent = tracking.parent(config, _title(runs), runs) if len(runs) > 1 else None
    for run in runs:
        if run not in left:
            tracking.push(run, parent)  # what the store is still missing of finished runs
    if left:
        launcher(config).run(left, parent)
    return int(any(run.state == "failed" for run in runs))


@settings
class Local:
    """One run after another, in this process; a failed one does not stop the others."""

    def run(self, runs: list[Run], parent: str | None) -> None:
        """Do the runs."""
        with Display(len(runs)) as display:
            for run in runs:
                try:
                    display.finished(run, execute(run, display, parent))
                except RunFailed as error:
                    display.failed(run, str(error))


@dataclass
class Job:
    """A piece of work for one process, and the stages that must be trained before it."""

    work: Callable[..., None]
    arguments: tuple[Any, ...]
    after: list[Training]

    @property
    def ready(self) -> bool:
        """Whether all that it waits for is there, or has diverged."""
        return all(training.ended for training in self.after)


@settings
class Processes:
    """`parallel` at a time, each in a process of its own; a stage that runs share is trained by one job, first."""

    parallel: int

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"parallel must be 1 or more, not {self.parallel}")

    def run(self, runs: list[Run], parent: str | None) -> None:
        """Do the runs."""
        executor = submitit.AutoExecutor(folder=runs[0].root / "jobs" / "%j", cluster="local")
        executor.update_parameters(timeout_min=A_WEEK)
        waiting, going = jobs(runs, parent), []
        with Reporter(runs) as reporter:
            while waiting or going:
                going = [job for job in going if not job.done()]
                # A stage that its own job could not train keeps nobody waiting: the runs meet its fault themselves.
                ready = [job for job in waiting if job.ready] or ([] if going else waiting)
                for job in ready[: self.parallel - len(going)]:
                    waiting.remove(job)
                    going.append(executor.submit(job.work, *job.arguments))
                reporter.refresh()
                time.sleep(0.5)


def jobs(runs: list[Run], parent: str | None) -> list[Job]:
    """The stages that several runs share, once each, and then the runs."""
    uses = Counter(training.fingerprint for run in runs for training in run.trainings)
    stages: dict[str, Job] = {}
    of_runs: list[Job] = []
    for run in runs:
        shared = [training for training in run.trainings if uses[training.fingerprint] > 1]
        for index, training in enumerate(shared):
            if not training.ended and training.fingerprint not in stages:
                stages[training.fingerprint] = Job(stage_job, (str(run.folder), index), after=shared[:index])
        of_runs.append(Job(run_job, (str(run.folder), parent), after=shared))
    return [*stages.values(), *of_runs]


def stage_job(folder: str, index: int) -> None:
    """Train one stage of a frozen run, in a process of its own."""
    run = load(Path(folder))
    train_alone(run, run.trainings[index])


def run_job(folder: str, parent: str | None) -> None:
    """Do what is left of a frozen run, in a process of its own; a fault is in its failure.md."""
    execute(load(Path(folder)), Silent(), parent)


LAUNCHERS = {"local": Local, "processes": Processes}
"""The launchers by the name in configs/launcher."""


def launcher(config: Config) -> Local | Processes:
    """The launcher of a config; UserError where there is none of that name, or a field is wrong."""
    fields = dict(config["launcher"])
    name = fields.pop("name")
    if name not in LAUNCHERS:
        raise UserError(f"There is no launcher called '{name}'. {near(name, LAUNCHERS)}")
    return make(LAUNCHERS[name], "launcher", fields)


def _retried(run: Run) -> bool:
    return run.state == "failed" and run.config["retry"]


def _title(runs: list[Run]) -> str:
    methods = dict.fromkeys(run.config["method"]["name"] for run in runs)
    return f"{', '.join(methods)} on {runs[0].config['data']['name']}"
