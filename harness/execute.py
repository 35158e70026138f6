"""One run, from its frozen config to its record: train the stages, sample, evaluate, record, mirror."""

import json
import traceback
from pathlib import Path
from typing import Any, Protocol

import torch

from harness import checkpoint, evaluate, record, runs, tracking
from harness.build import initial, outliers, untrained
from harness.device import choose_device
from harness.energy import EnergyModel
from harness.errors import Diverged, UserError
from harness.files import read_json, write_json, write_text
from harness.initial import check_accuracy
from harness.method import State
from harness.metric import Result, Subject
from harness.origin import origin, uncommitted
from harness.record import Cost, Record, StageCost
from harness.runs import Run, Training, lock
from harness.sample import samples, save_grid
from harness.train import Materials, Progress, peak_memory_mb, train


class Watch(Protocol):
    """Hears how a run gets on."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """A training step was taken."""

    def working(self, run: Run, what: str, done: int, total: int) -> None:
        """Some of `total` pieces of sampling or evaluation are done."""


class Silent:
    """Watches nothing: for runs in other processes, whose progress is read from the disk."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """Nothing."""

    def working(self, run: Run, what: str, done: int, total: int) -> None:
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
                write_text(run.folder / "failure.md", _failure(run, error))
                tracking.push(run, parent)
                raise RunFailed(f"{run.name}: {type(error).__name__}: {error}") from error
        tracking.push(run, parent)
        return record.read(path)


def load(folder: Path | str, device: str = "cpu") -> EnergyModel:
    """The trained model of a run's or a stage's folder, in evaluation mode; UserError if it has none."""
    run = runs.load(Path(folder))
    last = _last(run)
    if last and not last.done:
        raise UserError(f"{run.name} is not trained yet. To go on: type the command that began it again.")
    return _trained(run, last, torch.device(device))


def _outcome(run: Run, watch: Watch, parent: str | None) -> Record:
    """The record of a run, whatever became of it."""
    device = prepare(run)
    reason = run.method.skip(run.data)
    if reason:
        return _record(run, device, state="skipped", reason=reason)
    try:
        for training in run.trainings:
            train_stage(run, training, watch, parent)
        write_text(run.folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in run.curves()))
        last = _last(run)
        model, state = _trained(run, last, device), _state(last, device)
        if not run.trainings:
            check_accuracy(model, run.data, run.config["init"], run.config["init_accuracy"])
        result, seconds = _evaluate(run, model, state, device, watch)
        cost = _cost(run, seconds, device)
    except Diverged as error:
        return _record(run, device, state="diverged", reason=str(error))
    parameters = sum(p.numel() for p in model.parameters())
    found = {"scores": result.scores, "outcomes": result.outcomes, "parameters": parameters, "cost": cost}
    return _record(run, device, state="done", **found)


def train_stage(run: Run, training: Training, watch: Watch, parent: str | None = None) -> None:
    """Train one stage of a run, unless it was trained before, or is meanwhile by another process.

    Raises Diverged, now and whenever it is asked for again, if it diverges.
    """
    device = prepare(run)

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
        model, materials = _trained(run, training.parent, device), _materials(run, training, device)
        if run.init and training.parent is None:
            check_accuracy(model, run.data, run.config["init"], run.config["init_accuracy"])
        try:
            train(training.stage, model, materials, training.folder, run.config["checkpoint_seconds"], hear)
        except Diverged as error:
            reason = f"stage {training.name}: {error}"
            write_json(diverged, reason)
            raise Diverged(reason) from error


def prepare(run: Run) -> torch.device:
    """Set this process up as the run's config says; the device to use."""
    if run.config["threads"]:
        torch.set_num_threads(run.config["threads"])
    return choose_device(run.config["device"])


def _trained(run: Run, training: Training | None, device: torch.device) -> EnergyModel:
    """The model as a stage left it, in evaluation mode; with no stage, as it was before the first."""
    model = (initial if training is None else untrained)(run).to(device)
    if training is not None:
        model.load_state_dict(checkpoint.load_tensors(training.folder / "weights.safetensors", device))
    return model.eval()


def _last(run: Run) -> Training | None:
    return run.trainings[-1] if run.trainings else None


def _state(training: Training | None, device: torch.device) -> State:
    return {} if training is None else checkpoint.load_tensors(training.folder / "state.safetensors", device)


def _materials(run: Run, training: Training, device: torch.device) -> Materials:
    source = outliers(run) if "outliers" in training.stage.needs else None
    return Materials(run.data, source, (run.config["seed"], training.name), device, run.config["workers"])


def _evaluate(run: Run, model: EnergyModel, state: State, device: torch.device, watch: Watch) -> tuple[Result, float]:
    protocol, classes = run.config["protocol"], len(run.data.classes)
    how = evaluate.sampling(protocol)

    def own_samples() -> torch.Tensor:
        def hear(done: int) -> None:
            watch.working(run, "sample", done, how.count)

        folder = run.folder / "samples"
        made = samples(run.method, model, state, outliers(run), classes, how, folder, device, hear)
        save_grid(made, classes, run.folder / "samples.png")
        return made

    subject = Subject(model, run.data, device, own_samples, run.root / "cache")

    def hear(metric: str, done: int, total: int) -> None:
        watch.working(run, metric, done, total)

    return evaluate.evaluate(subject, protocol, run.folder / "parts", hear)


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
        selection=config["selection"],
        notes=config["notes"],
        study=config["study"],
        init=run.init or "",
        protocol=evaluate.tag(config["protocol"]),
        origin=origin(config["command"], device),
        **found,
    )


def _failure(run: Run, error: Exception) -> str:
    return f"""# {run.name} failed

{type(error).__name__}: {error}

What was done so far is kept. Once the cause is mended, the same command with `retry=true` goes on from there.

```
{"".join(traceback.format_exception(error))}```

Command: `{run.config["command"]}`
"""
