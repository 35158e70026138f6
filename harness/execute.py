"""One run, from its frozen config to its record: train the stages, sample, evaluate, record, mirror."""

import json
import traceback
from contextlib import suppress
from typing import Any, Protocol

import torch

from harness import evaluate, record, tracking
from harness.build import outliers
from harness.device import full_precision, prepare
from harness.errors import CanaryFailed, Diverged, UserError
from harness.evaluate import Evaluation
from harness.files import read_json, write_json, write_text
from harness.initial import check_accuracy
from harness.origin import origin, uncommitted
from harness.record import Cost, Record, StageCost
from harness.runs import Run, Training, lock
from harness.spread import evaluators, work
from harness.train import Materials, Progress, peak_memory_mb, train
from harness.trained import trained


class Watch(Protocol):
    """Hears how a run gets on."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """A training step was taken."""

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some of `total` pieces of sampling or evaluation are done; a few words on them."""


class Silent:
    """Watches nothing: for runs in other processes, whose progress is read from the disk."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """Nothing."""

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Nothing."""


class RunFailed(Exception):
    """A run stopped by a fault; its failure.md says which."""


def execute(run: Run, watch: Watch, parent: str | None = None) -> Record:
    """Do what is left of a run and return its record; it is interrupted and continued at any moment.

    `parent` is the id of the tracked multirun. Raises RunFailed, with failure.md written, where the code or
    the machine is at fault.
    """
    with lock(run.folder):
        path = run.folder / "record.json"
        if not path.exists():
            (run.folder / "failure.md").unlink(missing_ok=True)
            (run.folder / "started").touch()
            tracking.push(run, parent)
            try:
                record.write(path, _outcome(run, watch, parent))
            except Exception as error:
                with suppress(UserError):  # on a full disk not even this can be written
                    write_text(run.folder / "failure.md", _failure(run, error))
                tracking.push(run, parent)
                raise RunFailed(f"{run.name}: {_named(error)}") from error
        tracking.push(run, parent)
        return record.read(path)


def _outcome(run: Run, watch: Watch, parent: str | None) -> Record:
    """The record of a run, whatever became of it."""
    device = prepare(run.config)
    reason = run.method.skip(run.data)
    if reason:
        return _record(run, device, state="skipped", reason=reason)
    try:
        for training in run.trainings:
            train_stage(run, training, watch, parent)
        write_text(run.folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in run.curves()))
        if not run.trainings:
            check_accuracy(trained(run, None, device), run.data, run.config["init"], run.config["init_accuracy"])
        return _record(run, device, state="done", **_judge(run, device, watch))
    except Diverged as error:
        return _record(run, device, state="diverged", reason=str(error))


def train_stage(run: Run, training: Training, watch: Watch, parent: str | None = None) -> None:
    """Train one stage of a run, unless it was trained before, or is meanwhile by another process.

    Raises Diverged, now and whenever it is asked for again, if it diverges.
    """
    device = prepare(run.config)

    def hear(progress: Progress) -> None:
        watch.training(run, training.name, progress)
        if progress.checkpointed:
            tracking.push(run, parent)

    with lock(training.folder):
        diverged = training.folder / "diverged.json"
        if diverged.exists():
            raise Diverged(read_json(diverged))
        if training.done:
            return
        model, materials = trained(run, training.parent, device), _materials(run, training, device)
        if run.init and training.parent is None:
            check_accuracy(model, run.data, run.config["init"], run.config["init_accuracy"])
        try:
            train(training.stage, model, materials, training.folder, run.config["checkpoint_seconds"], hear)
        except Diverged as error:
            reason = f"stage {training.name}: {error}"
            write_json(diverged, reason)
            raise Diverged(reason) from error


def _materials(run: Run, training: Training, device: torch.device) -> Materials:
    source = outliers(run) if "outliers" in training.stage.needs else None
    return Materials(run.data, source, (run.config["seed"], training.name), device, run.config["workers"])


def _judge(run: Run, device: torch.device, watch: Watch) -> dict[str, Any]:
    """What the protocol says of a trained run, as fields of a record."""

    def hear(what: str, done: int, total: int, words: str) -> None:
        watch.working(run, what, done, total, words)

    evaluation = Evaluation(run, device)
    with full_precision():
        canaries = evaluation.canaries()
        work(evaluation, evaluators(run, device), hear)
        result, seconds = evaluation.merged()
    return {
        "scores": result.scores,
        "outcomes": result.outcomes,
        "canaries": canaries,
        "parameters": sum(p.numel() for p in evaluation.subject.model.parameters()),
        "cost": _cost(run, seconds, device),
        "selection": {**record.selections(run.config["selection"]), **evaluation.selected()},
    }


def _cost(run: Run, seconds: float, device: torch.device) -> Cost:
    stages = [
        StageCost(name=training.name, fingerprint=training.fingerprint, **read_json(training.folder / "done.json"))
        for training in run.trainings
    ]
    memory = max([peak_memory_mb(device), *(stage.peak_memory_mb for stage in stages)])
    training = sum(stage.seconds for stage in stages)
    return Cost(stages=stages, training_seconds=training, evaluation_seconds=round(seconds, 2), peak_memory_mb=memory)


def _record(run: Run, device: torch.device, **found: Any) -> Record:  # noqa: ANN401 - fields of Record
    config = run.config
    diff = uncommitted()
    if diff:
        write_text(run.folder / "uncommitted.diff", diff + "\n")
    return Record(
        fingerprint=run.fingerprint,
        series=run.series,
        method=config["method"]["name"],
        data=config["data"]["name"],
        model=config["model"]["name"],
        seed=config["seed"],
        overrides=config["overrides"],
        notes=config["notes"],
        study=config["study"],
        init=run.init or "",
        protocol=evaluate.tag(config["protocol"]),
        origin=origin(config["command"], device),
        **{"selection": record.selections(run.config["selection"]), **found},
    )


def _named(error: Exception) -> str:
    """An error in one line; what the user has to mend, or a canary, speaks for itself."""
    return str(error) if isinstance(error, UserError | CanaryFailed) else f"{type(error).__name__}: {error}"


def _failure(run: Run, error: Exception) -> str:
    return f"""# {run.name} failed

{_named(error)}

What was done so far is kept. Once the cause is mended, the same command with `retry=true` goes on from there.

```
{"".join(traceback.format_exception(error))}```

Command: `{run.config["command"]}`
"""
