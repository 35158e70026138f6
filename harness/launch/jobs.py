"""The jobs of a sweep, each with its own processes: stages that runs share, and the runs."""

import logging
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from submitit.helpers import Checkpointable

from harness.core.errors import Diverged
from harness.launch.staging import stage_in
from harness.runs import progress, record
from harness.runs.changed import set_aside
from harness.runs.execute import execute, train_alone
from harness.runs.folder import Fault, has_record, readable
from harness.runs.run import Run, StageRun, folders, load
from harness.tracking.outbox import Multirun, enqueue
from harness.tracking.sender import sender
from harness.tracking.store import enabled

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageJob(Checkpointable):
    """Trains one stage of a frozen run; if it diverges, the runs that use it report that."""

    folder: str
    index: int

    def __call__(self) -> None:
        """Train the stage, or continue its training."""
        run = stage_in(load(Path(self.folder)))
        with suppress(Diverged):
            train_alone(run, run.stage_runs[self.index])


@dataclass(frozen=True)
class RunJob(Checkpointable):
    """Does the remaining work of a frozen run; an error is written to its failure.md and ends the process."""

    folder: str
    sweep: Multirun | None

    def __call__(self) -> None:
        """Execute the run, or continue it."""
        run = load(Path(self.folder))
        execute(stage_in(run), sender(run, self.sweep))


@dataclass(frozen=True)
class Job:
    """A piece of work with its own processes, the folder that it writes, and the stages that must be trained first."""

    work: StageJob | RunJob
    folder: Path
    after: list[StageRun]

    @property
    def ready(self) -> bool:
        """Whether all stages that it waits for are trained or have diverged."""
        return all(stage_run.ended for stage_run in self.after)


def freeze(runs: list[Run]) -> list[Run]:
    """Write the configs of the runs with work left, and return these; failed runs only with retry=true.

    With redo=true, what other code made is set aside first, so that it is left to do.
    """
    for run in runs:
        if run.config.redo:
            _redo(run)
    left = [run for run in runs if run.state in ("new", "queued", "interrupted") or _is_retried(run)]
    for run in left:
        run.freeze()
        (run.folder / "failure.md").unlink(missing_ok=True)  # of an earlier attempt
    return left


def jobs(runs: list[Run], sweep: Multirun | None, going: Collection[Path] = ()) -> list[Job]:
    """The jobs for a list of runs: each shared stage once, parents before children, and then the runs.

    going: folders of stages that jobs of earlier commands already train.
    """
    uses = Counter(stage_run.fingerprint for run in runs for stage_run in run.stage_runs)
    stages: dict[str, Job] = {}
    of_runs: list[Job] = []
    for run in runs:
        # Add jobs for the stages that other runs need too; the run's own job trains the rest.
        shared: list[StageRun] = []
        for index, stage_run in enumerate(run.stage_runs):
            if uses[stage_run.fingerprint] == 1 and stage_run.folder not in going:
                continue
            if not (stage_run.ended or stage_run.folder in going or stage_run.fingerprint in stages):
                work = StageJob(str(run.folder), index)
                stages[stage_run.fingerprint] = Job(work, stage_run.folder, after=list(shared))
            shared.append(stage_run)
        of_runs.append(Job(RunJob(str(run.folder), sweep), run.folder, after=shared))
    return [*stages.values(), *of_runs]


def note_waits(runs: list[Run], todo: list[Job]) -> None:
    """Note in the folder of each run what its job waits for."""
    after = {job.folder: job.after for job in todo}
    for run in runs:
        progress.note_waits(run, after[run.folder])


def _redo(run: Run) -> None:
    """Set aside what other code made of a run; other runs that stand on its stages are out of date in MLflow too."""
    parts = set_aside(run)
    replaced = {stage_run.fingerprint for stage_run in run.stage_runs if stage_run.folder in {p.folder for p in parts}}
    for folder in folders(run.root) if replaced and enabled(run.config) else []:
        answer = readable(folder, lambda path: _enqueue_if(path, replaced))
        if isinstance(answer, Fault):
            log.warning("%s", answer)


def _enqueue_if(folder: Path, replaced: Collection[str]) -> None:
    """Mark a run as still to be sent to MLflow if its record names one of the stages that were replaced."""
    cost = record.read(folder / "record.json").cost if has_record(folder) else None
    if cost and any(stage.fingerprint in replaced for stage in cost.stages):
        enqueue(load(folder), None)


def _is_retried(run: Run) -> bool:
    return run.state == "failed" and run.config.retry
