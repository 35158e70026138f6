"""One run, from its frozen config to its record: train its stages, sample, evaluate, record."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from harness.core.device import full_precision, peak_memory_mb, release_memory, reset_peak_memory
from harness.core.distributed import Lost, World, disconnect, in_step, join
from harness.core.errors import Collapsed, Damaged, Diverged
from harness.core.files import read_checked, read_json, remove_stale, write_checked, write_text
from harness.core.signals import handle_signals
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.reference import data_digests
from harness.evaluation.workers import Hear, run_pieces
from harness.runs import build, changed, code, pace, record
from harness.runs.failure import RunFailed, one_line, write_failure
from harness.runs.folder import is_locked, lock
from harness.runs.origin import origin, uncommitted_diff
from harness.runs.previews import Previews
from harness.runs.progress import PROGRESS, WAITING, Diary, Watch, Watches, count_attempt, note_waits
from harness.runs.record import Cost, Record, SamplingCost, StageCost
from harness.runs.rehearsal import rehearse
from harness.runs.run import Run, StageRun
from harness.runs.spent import flop_of
from harness.training.loop import Progress, train

log = logging.getLogger(__name__)


def execute(run: Run, watch: Watch) -> Record:
    """Do what is left of a run and return its record; it may be interrupted at any moment and executed again.

    Every process of the run's world calls it; rank 0 writes the files and tells the watch. Raises RunFailed, with
    failure.md written, if the code or the machine is at fault, and Leave when a signal says so.
    """
    world = join()
    watch = watch if world.rank == 0 else Watch()
    with in_step(), handle_signals(disconnect), hold_folder(run.folder, world), watch:
        # A run that has its record is over.
        path = run.folder / "record.json"
        if world.on_main(path.exists):
            return world.on_main(lambda: record.read(path))

        attempt = world.on_main(lambda: count_attempt(run))
        world.on_main(lambda: (run.folder / "failure.md").unlink(missing_ok=True))
        watch = Watches(Diary(run, attempt), watch) if world.rank == 0 else watch

        # Train, evaluate, record. If another process has gone, the run is interrupted: that process says why.
        try:
            outcome = _outcome(run, watch)
            world.on_main(lambda: record.write(path, outcome))
        except Lost:
            raise
        except Exception as error:
            write_failure(run, error)
            raise RunFailed(f"{run.name}: {one_line(error)}") from error
        return world.on_main(lambda: record.read(path))


def _outcome(run: Run, watch: Watch) -> Record:
    """The record of a run that is skipped, diverges, collapses or is evaluated."""
    device, world = build.prepare(run.config), join()
    if reason := run.method.skip(run.data):
        return world.on_main(lambda: record_of(run, device, state="skipped", reason=reason))
    if rehearses(device):
        rehearse(run, device)
    try:
        # Train the stages, each from the weights of the one before, and join their curves.
        for stage_run in run.stage_runs:
            train_stage(run, stage_run, watch)
        world.on_main(lambda: _join_curves(run))

        # A run without stages evaluates given weights as they are; `train_stage` checks those that training needs.
        if not run.stage_runs and run.method.has_net:
            build.check_accuracy(run, build.load_trained(run, None, device))

        return evaluate_run(run, device, partial(watch.working, run))
    except Diverged as error:
        state, reason = error.state, str(error)
        return world.on_main(lambda: record_of(run, device, state=state, reason=reason))


def rehearses(device: torch.device) -> bool:
    """Whether memory is tried before training: on a GPU, where that takes seconds; on a CPU it would take minutes."""
    return device.type == "cuda"


def _join_curves(run: Run) -> None:
    write_text(run.folder / "metrics.jsonl", "".join(json.dumps(point) + "\n" for point in run.curves()))


def train_stage(run: Run, stage_run: StageRun, watch: Watch) -> None:
    """Train one stage of a run, unless it is trained already; wait if another job trains it.

    Raises Diverged or Collapsed, now and at every later call, if it ends so.
    """
    device, world = build.prepare(run.config), join()
    if world.rank == 0 and is_locked(stage_run.folder):
        note_waits(run, [stage_run])
        watch.working(run, f"{WAITING} {stage_run.name}", 0, 1, "another job trains it")
    with hold_folder(stage_run.folder, world):
        # Nothing is left to do of a stage that diverged, collapsed or is done.
        if outcome := world.on_main(lambda: _divergence(stage_run)):
            raise outcome
        if world.on_main(lambda: stage_run.done):
            return
        world.connect(device)

        # Begin from the parent's weights, or from initial ones; those that `init` gives must be right on enough images.
        model = build.load_trained(run, stage_run.parent, device)
        parent = stage_run.parent.weights if stage_run.parent else ""
        inputs = build.stage_inputs(run, stage_run.name, stage_run.stage, device, parent)
        if run.init:
            build.check_accuracy(run, model)

        # Train, and keep the reason of a divergence or collapse for later calls.
        previews = Previews(run, stage_run)
        diary = Diary(run, 1, stage_run.folder) if world.rank == 0 else Watch()  # for those who wait for the stage

        def hear(progress: Progress) -> None:
            watch.training(run, stage_run.name, progress)
            diary.training(run, stage_run.name, progress)
            previews.look(progress)
            if progress.checkpointed:
                watch.saved()

        try:
            train(stage_run.stage, model, inputs, stage_run.folder, run.config.checkpoint_seconds, hear)
        except Diverged as error:
            note = {"reason": f"stage {stage_run.name}: {error}", "state": error.state}
            world.on_main(lambda: write_checked(stage_run.folder / "diverged.json", note))
            raise type(error)(note["reason"]) from error
        finally:
            (stage_run.folder / PROGRESS).unlink(missing_ok=True)

        # Note what a step took, for plans of such stages.
        world.on_main(lambda: pace.note_stage(run, stage_run, device))


def _divergence(stage_run: StageRun) -> Diverged | None:
    """How a stage diverged or collapsed; None if it did not. A damaged note is removed: training on comes to it again.

    Older versions wrote the reason alone, and then no state.
    """
    path = stage_run.folder / "diverged.json"
    try:
        if not path.exists():
            return None
        content = read_json(path)
        note = {"reason": content} if isinstance(content, str) else read_checked(path)
        return (Collapsed if note.get("state") == "collapsed" else Diverged)(note["reason"])
    except (ValueError, Damaged) as error:
        log.warning("%s was damaged and has been removed (%s).", path, error)
        path.unlink()
        return None


def train_alone(run: Run, stage_run: StageRun) -> None:
    """Train one stage of a run and nothing else, with the signals and locks of `execute`."""
    with in_step(), handle_signals(disconnect):
        if rehearses(device := build.prepare(run.config)):
            rehearse(run, device)
        train_stage(run, stage_run, Watch())


def evaluate_run(run: Run, device: torch.device, hear: Hear) -> Record:
    """The record of a trained run, evaluated under its protocol."""
    # Release what training has used, and measure the memory of the evaluation by itself.
    release_memory(device)
    reset_peak_memory(device)
    evaluation, world = build.evaluation(run, device), join()
    with full_precision():
        # Check on few images that the numbers will mean something, and that pieces of an earlier attempt are sound.
        canaries = world.on_main(evaluation.canaries)
        world.on_main(evaluation.remove_damaged)

        run_pieces(evaluation, build.evaluators(run, device), partial(build.evaluation_of, run.folder), hear)

        # Merge the pieces into scores, and record them.
        def merge() -> Record:
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
                cost=_cost(run, evaluation, seconds, device),
                not_given=build.not_given(run),
                selection={**run.config.selection, **evaluation.selections()},
                extractors={name: features.digest for name, features in evaluation.subject.opened.items()},
                data_used=data_digests(run.data),
            )

        return world.on_main(merge)


def record_of(run: Run, device: torch.device, **results: Any) -> Record:  # noqa: ANN401 - fields of Record
    """The record of a run with these results; uncommitted changes of the code are written beside it."""
    diff, now = uncommitted_diff(), changed.of_record(run)
    if diff:
        write_text(run.folder / "uncommitted.diff", diff + "\n")
    fields = {
        "code": now,
        "mixed": code.mixed([now, *changed.made_by(run)]),
        "origin": origin(run.config.command, device),
    }
    return Record(**(described(run) | fields | results))


def described(run: Run) -> dict[str, Any]:
    """The fields of a record that say what the run is, known before it begins."""
    config = run.config
    return {
        "fingerprint": run.fingerprint,
        "series": run.series,
        "method": config.method["name"],
        "data": config.data["name"],
        "model": config.model["name"] if run.method.has_net else "",
        "seed": config.seed,
        "overrides": config.overrides,
        "selection": config.selection,
        "notes": {**config.notes, **run.data.notes, **(run.data.extra.notes if run.data.extra else {})},
        "study": config.study,
        "init": run.init or "",
        "protocol": run.protocol,
    }


def _cost(run: Run, evaluation: Evaluation, seconds: float, device: torch.device) -> Cost:
    """What the training of all stages, the drawing of samples and an evaluation of so many seconds took."""
    stages = [
        _stage_cost(stage_run.name, stage_run.fingerprint, read_checked(stage_run.folder / "done.json"))
        for stage_run in run.stage_runs
    ]
    memory = max([peak_memory_mb(device), *(stage.peak_memory_mb for stage in stages)])
    stage_run = sum(stage.seconds for stage in stages)
    return Cost(
        stages=stages,
        training_seconds=stage_run,
        evaluation_seconds=round(seconds, 2),
        peak_memory_mb=memory,
        sampling=_sampling_cost(evaluation) if evaluation.needs_samples and run.method.has_net else None,
        training_flop=flop_of(lambda: run, stages, run.curves()) if stages else None,
    )


def _sampling_cost(evaluation: Evaluation) -> SamplingCost | None:
    """What the samples of an evaluation took; None if an older version drew some of them."""
    samples = evaluation.subject.samples
    if (seconds := samples.seconds) is None:
        return None
    work = evaluation.work_of_sampling()
    return SamplingCost(images=samples.how.count, seconds=round(seconds, 2), passes=work.passes, flop=work.flop)


def _stage_cost(name: str, fingerprint: str, done: dict[str, Any]) -> StageCost:
    known = {key: value for key, value in done.items() if key in StageCost.model_fields}
    return StageCost(name=name, fingerprint=fingerprint, **known)


@contextmanager
def hold_folder(folder: Path, world: World) -> Iterator[None]:
    """Hold a folder's lock, which rank 0 takes for all, and remove what killed processes were writing there."""
    own = lock(folder)

    def take() -> None:
        own.acquire()
        remove_stale(folder)

    try:
        world.on_main(take)
        yield
    finally:
        own.release()
