"""One run, from its frozen config to its record: train the stages, sample, evaluate, record."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.core.device import full_precision, peak_memory_mb
from harness.core.distributed import Lost, World, join
from harness.core.errors import Diverged
from harness.core.files import read_json, remove_stale, write_json, write_text
from harness.core.signals import handle_signals
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.workers import Hear, run_pieces
from harness.runs import pace, record
from harness.runs.build import (
    check_accuracy,
    evaluation,
    evaluation_of,
    evaluators,
    load_trained,
    prepare,
    stage_inputs,
)
from harness.runs.failure import RunFailed, one_line, write_failure
from harness.runs.folder import is_locked, lock
from harness.runs.origin import origin, uncommitted_diff
from harness.runs.previews import Previews
from harness.runs.progress import Diary, Watch, Watches, count_attempt
from harness.runs.record import Cost, Record, StageCost
from harness.runs.run import Run, StageRun
from harness.training.loop import Progress, train


def execute(run: Run, watch: Watch) -> Record:
    """Do what is left of a run and return its record; it is interrupted and continued at any moment.

    Every process of the run's world calls it; the first writes the files, and tells the watch.
    Raises RunFailed, with failure.md written, where the code or the machine is at fault; Leave, when a signal says so.
    """
    world = join()
    watch = watch if world.rank == 0 else Watch()
    with handle_signals(), hold_folder(run.folder, world), watch:
        path = run.folder / "record.json"
        if not world.on_main(path.exists):
            attempt = world.on_main(lambda: _begin(run))
            try:
                outcome = _outcome(run, Watches(Diary(run, attempt), watch) if world.rank == 0 else watch)
                world.on_main(lambda: record.write(path, outcome))
            except Lost:
                raise  # the process that has gone says why, or was killed: then the run is interrupted, not failed
            except Exception as error:
                write_failure(run, error)
                raise RunFailed(f"{run.name}: {one_line(error)}") from error
        return world.on_main(lambda: record.read(path))


def train_alone(run: Run, training: StageRun) -> None:
    """Train one stage of a run, and nothing else; the same processes, signals and locks as in `execute`."""
    with handle_signals():
        train_stage(run, training, Watch())


@contextmanager
def hold_folder(folder: Path, world: World) -> Iterator[None]:
    """A folder's lock, which the first process takes for all; it sweeps out what a killed one was writing there."""
    own = lock(folder)

    def take() -> None:
        own.acquire()
        remove_stale(folder)

    try:
        world.on_main(take)
        yield
    finally:
        own.release()


def _begin(run: Run) -> int:
    (run.folder / "failure.md").unlink(missing_ok=True)
    return count_attempt(run)


def _outcome(run: Run, watch: Watch) -> Record:
    """The record of a run, whatever became of it."""
    device, world = prepare(run.config), join()
    reason = run.method.skip(run.data)
    if reason:
        return world.on_main(lambda: record_of(run, device, state="skipped", reason=reason))
    try:
        for training in run.stage_runs:
            train_stage(run, training, watch)
        world.on_main(lambda: write_text(run.folder / "metrics.jsonl", _lines(run.curves())))
        if not run.stage_runs:
            check_accuracy(run, load_trained(run, None, device))
        return evaluate_run(run, device, partial(watch.working, run))
    except Diverged as error:
        reason = str(error)
        return world.on_main(lambda: record_of(run, device, state="diverged", reason=reason))


def train_stage(run: Run, training: StageRun, watch: Watch) -> None:
    """Train one stage of a run, unless it was trained before, or is meanwhile by another job.

    Raises Diverged, now and whenever it is asked for again, if it diverges.
    """
    device, world = prepare(run.config), join()

    glimpses = Previews(run, training)

    def hear(progress: Progress) -> None:
        watch.training(run, training.name, progress)
        glimpses.look(progress)
        if progress.checkpointed:
            watch.saved()

    if world.rank == 0 and is_locked(training.folder):
        watch.working(run, f"wait for stage {training.name}", 0, 1, "another job trains it")
    with hold_folder(training.folder, world):
        diverged = training.folder / "diverged.json"
        if reason := world.on_main(lambda: read_json(diverged) if diverged.exists() else ""):
            raise Diverged(reason)
        if world.on_main(lambda: training.done):
            return
        model, inputs = (
            load_trained(run, training.parent, device),
            stage_inputs(run, training.name, training.stage, device),
        )
        if run.init and training.parent is None:
            check_accuracy(run, model)
        try:
            train(training.stage, model, inputs, training.folder, run.config.checkpoint_seconds, hear)
        except Diverged as error:
            reason = f"stage {training.name}: {error}"
            world.on_main(lambda: write_json(diverged, reason))
            raise Diverged(reason) from error
        world.on_main(lambda: _pace(run, training, device))


def _pace(run: Run, training: StageRun, device: torch.device) -> None:
    """Note what a step took, for whoever plans more of them."""
    took = read_json(training.folder / "done.json")
    each, steps = took["seconds"] / took["steps"], took["steps"]
    key = pace.stage_key(run, training)
    pace.note(training.folder, key, device, took["processes"], seconds_per_step=each, steps=steps)


def _lines(curves: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in curves)


def evaluate_run(run: Run, device: torch.device, hear: Hear) -> Record:
    """The record of a trained run: what its protocol says of it."""
    judging, world = evaluation(run, device), join()
    with full_precision():
        canaries = world.on_main(judging.canaries)
        run_pieces(judging, evaluators(run, device), partial(evaluation_of, run.folder), hear)
        return world.on_main(lambda: _merge(run, judging, canaries))


def _merge(run: Run, evaluation: Evaluation, canaries: dict[str, float]) -> Record:
    device = evaluation.subject.device
    result, seconds = evaluation.merge()
    pace.note(run.folder, pace.evaluation_key(run), device, 1, seconds=seconds)
    return record_of(
        run,
        device,
        state="done",
        scores=result.scores,
        outcomes=result.outcomes,
        canaries=canaries,
        parameters=sum(p.numel() for p in evaluation.subject.model.parameters()),
        cost=_cost(run, seconds, device),
        selection={**run.config.selection, **evaluation.selections()},
    )


def _cost(run: Run, seconds: float, device: torch.device) -> Cost:
    stages = [
        StageCost(name=training.name, fingerprint=training.fingerprint, **read_json(training.folder / "done.json"))
        for training in run.stage_runs
    ]
    memory = max([peak_memory_mb(device), *(stage.peak_memory_mb for stage in stages)])
    training = sum(stage.seconds for stage in stages)
    return Cost(stages=stages, training_seconds=training, evaluation_seconds=round(seconds, 2), peak_memory_mb=memory)


def record_of(run: Run, device: torch.device, **found: Any) -> Record:  # noqa: ANN401 - fields of Record
    """The record of a run, with what was found of it; uncommitted changes of the code are written beside it."""
    config = run.config
    diff = uncommitted_diff()
    if diff:
        write_text(run.folder / "uncommitted.diff", diff + "\n")
    return Record(
        fingerprint=run.fingerprint,
        series=run.series,
        method=config.method["name"],
        data=config.data["name"],
        model=config.model["name"],
        seed=config.seed,
        overrides=config.overrides,
        notes=config.notes,
        study=config.study,
        init=run.init or "",
        protocol=run.protocol,
        origin=origin(config.command, device),
        **{"selection": run.config.selection, **found},
    )
