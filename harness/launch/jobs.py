"""The pieces of a sweep that are processes of their own: stages that runs share, and the runs."""

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from submitit.helpers import Checkpointable

from harness.core.errors import Diverged
from harness.runs.execute import execute, train_alone
from harness.runs.run import Run, StageRun, load
from harness.tracking.outbox import Multirun
from harness.tracking.sender import sender


@dataclass(frozen=True)
class StageJob(Checkpointable):
    """Trains one stage of a frozen run; a divergence is for the runs to tell."""

    folder: str
    index: int

    def __call__(self) -> None:
        """Do it, or go on with it."""
        run = load(Path(self.folder))
        with suppress(Diverged):
            train_alone(run, run.stage_runs[self.index])


@dataclass(frozen=True)
class RunJob(Checkpointable):
    """Does what is left of a frozen run; a fault is in its failure.md, and ends the process with an error."""

    folder: str
    parent: Multirun | None

    def __call__(self) -> None:
        """Do it, or go on with it."""
        run = load(Path(self.folder))
        execute(run, sender(run, self.parent))


@dataclass(frozen=True)
class Job:
    """A piece of work for processes of its own, the folder it fills, and the stages to be trained before it."""

    work: StageJob | RunJob
    folder: Path
    after: list[StageRun]

    @property
    def ready(self) -> bool:
        """Whether all that it waits for is there, or has diverged."""
        return all(training.ended for training in self.after)


def freeze(runs: list[Run]) -> list[Run]:
    """Write the configs of those runs that have work left and return them; a failed run only if told to retry."""
    left = [run for run in runs if run.state in ("new", "queued", "interrupted") or _is_retried(run)]
    for run in left:
        run.freeze()
        (run.folder / "failure.md").unlink(missing_ok=True)  # the fault of an attempt that is over
    return left


def jobs(runs: list[Run], parent: Multirun | None, going: Collection[Path] = ()) -> list[Job]:
    """The stages that several runs share, once each, parents before children, and then the runs.

    going: the folders of stages that jobs of earlier commands train.
    """
    uses = Counter(training.fingerprint for run in runs for training in run.stage_runs)
    stages: dict[str, Job] = {}
    of_runs: list[Job] = []
    for run in runs:
        shared: list[StageRun] = []
        for index, training in enumerate(run.stage_runs):
            if uses[training.fingerprint] == 1 and training.folder not in going:
                continue
            if not (training.ended or training.folder in going or training.fingerprint in stages):
                work = StageJob(str(run.folder), index)
                stages[training.fingerprint] = Job(work, training.folder, after=list(shared))
            shared.append(training)
        of_runs.append(Job(RunJob(str(run.folder), parent), run.folder, after=shared))
    return [*stages.values(), *of_runs]


def _is_retried(run: Run) -> bool:
    return run.state == "failed" and run.config.retry
