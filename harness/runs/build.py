"""Build what a run's config describes: net, outliers, evaluation. (`Run` itself builds the method and the data.)"""

import os
from collections.abc import Sequence
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml
from torch import Tensor, nn

from harness.core.cache import kept
from harness.core.dataset import Dataset, Outliers
from harness.core.device import choose_device, keep_freed_memory
from harness.core.distributed import join
from harness.core.energy import EnergyModel, InMicroBatches
from harness.core.errors import Damaged, UserError, first_line
from harness.core.files import digest, read_checked, valid_name
from harness.core.loader import in_order
from harness.core.method import Stage, State
from harness.core.random import derive
from harness.core.registry import build, files, find, make
from harness.core.tensors import load_tensors
from harness.evaluation.evaluator import Evaluation, metrics, sampling
from harness.evaluation.metric import Metric, Subject
from harness.evaluation.reference import evenly
from harness.evaluation.samples import Samples
from harness.runs import changed, code, fetch
from harness.runs.config import AUTO, Config, Part
from harness.runs.origin import code_version
from harness.runs.run import Run, StageRun, load
from harness.runs.run import find as find_run
from harness.training import weights
from harness.training.batches import StageInputs

SEEN = 1000
"""Approximate number of images on which `check_accuracy` measures the accuracy of initial weights."""

MARGIN = 3
"""By how much, in %, their accuracy may be below the published one of weights of the zoo."""

BATCH = 100
"""Number of them that pass the net at a time, at most."""

Model = TypeVar("Model", bound=EnergyModel)


def untrained(run: Run, device: str = "cpu") -> EnergyModel:
    """The model with weights drawn from the run's seed; on the device "meta" it is only checked and takes no memory."""
    model = drawn(run.config.model, run.data, run.config.seed, device)
    if reason := _wrong_constants(model, run.data):
        raise UserError(f"{reason}.")
    return model


def drawn(model_part: Part, data: Dataset, seed: int, device: str) -> EnergyModel:
    """The model that a config describes, for data of this shape and these classes, with weights drawn from a seed."""
    part = dict(model_part)
    constants = {key: part.pop(key) for key in ("mean", "std") if key in part}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(derive(seed, "initial weights"))
        net = _net(part, data)
        return make(EnergyModel, "model", constants, net=net)


def _wrong_constants(model: EnergyModel, data: Dataset) -> str:
    """What is wrong with the constants that standardise pixels; empty if nothing is."""
    channels = data.shape[0]
    right = model.mean.numel() == channels
    hint = "model.mean=auto model.std=auto takes those of the data"
    return "" if right else f"model.mean and model.std need {channels} values, one for each channel: {hint}"


def check_net(run: Run) -> EnergyModel:
    """The model on the device "meta", after an image of the data's shape passed its net; UserError if it cannot.

    The message names the nets of configs/model that take the image. They are tried in the same way, without weights.
    """
    data = run.data
    model = drawn(run.config.model, data, run.config.seed, "meta")
    question = [run.config.model, data.shape, len(data.classes)]
    if not (reason := kept("nets", question, lambda: _refusal(model, data))):
        return model
    others = [f"model={name}" for name, part in shipped_models().items() if _takes(part, data)]
    raise UserError(
        f"The net {run.config.model['name']} does not accept images of {'x'.join(map(str, data.shape))}, the size of "
        f"data={run.config.data['name']}: {reason}. Nets that accept them: {', '.join(others)}."
    )


def _refusal(model: EnergyModel, data: Dataset) -> str:
    """Why a model on the device "meta" gives no logits for an image; empty if it does, or if that cannot be tried."""
    if reason := _wrong_constants(model, data):
        return reason
    try:
        with torch.no_grad():
            logits = model.eval().net(torch.empty(1, *data.shape, device="meta"))
    except NotImplementedError:
        return ""  # an operation that needs values
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        return "" if "meta" in str(error) else first_line(error).rstrip(".")
    expected, given = (1, len(data.classes)), tuple(getattr(logits, "shape", ()))
    return "" if given == expected else f"it gives {given} instead of logits, {expected}"


def _takes(part: Part, data: Dataset) -> bool:
    if part.get("mean") == AUTO:  # which fits any data
        part = part | {"mean": [0.0] * data.shape[0], "std": [1.0] * data.shape[0]}
    try:
        return not _refusal(drawn(part, data, 0, "meta"), data)
    except UserError:  # as when its mean has another number of channels
        return False


def shipped_models() -> dict[str, Part]:
    """The contents of the nets' configs, by name."""
    return {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in files("model").items()}


def initial(run: Run) -> EnergyModel:
    """The model before its first stage: initialised from the seed, or loaded from the checkpoint `init`."""
    model = untrained(run)
    if run.config.init and run.init:
        fill(model, run.config.init, run.init)
    return model


def _net(part: Part, data: Dataset) -> nn.Module:
    """The net of this name in `harness.models`, or else timm's, for the data's classes and shape."""
    (channels, *sides), classes = data.shape, len(data.classes)
    if code.net_module(part) != "harness.models.timm":
        # Only nets that do not pool their last features need to know the height and width.
        wanted = signature(find("model", part["name"])).parameters
        context = {"sides": tuple(sides)} if "sides" in wanted else {}
        return build("model", part, classes=classes, channels=channels, **context)
    fields = dict(part)
    architecture, options = fields.pop("name"), fields.pop("options", {})
    for field in fields:
        raise UserError(f"model.{field}: timm's nets have no such field; drop it with ~model.{field}")
    from harness.models.timm import timm_net  # slow to import, and most runs do not need it

    return timm_net(classes, channels, architecture=architecture, options=options)


def outliers(run: Run) -> Outliers:
    """The run's source of outliers: the method's own, or that of the config."""
    return build("outliers", run.method.outliers or run.config.outliers, data=run.data)


def stage_inputs(run: Run, name: str, stage: Stage, device: torch.device, parent: str = "") -> StageInputs:
    """The data, device and settings that a stage of the run trains with, from weights whose digest is `parent`."""
    config = run.config
    return StageInputs(
        run.data,
        outliers(run) if "outliers" in stage.streams else None,
        key=(config.seed, name),
        device=device,
        workers=config.workers,
        world=join(),
        accumulate=config.accumulate,
        code_version=code_version(),
        code=code.of_stage(run, stage).model_dump(),
        parent=parent,
        trained=bool(parent or run.init),
        compile=config.compile,
        recompute=config.recompute,
    )


def fill(model: EnergyModel, path: str, expected: str) -> None:
    """Load a checkpoint, given by path or address, into the net, strictly; UserError if it does not fit.

    `expected` is the run's `init`: the file's digest, and perhaps which weights to take. A file with other content is
    refused.
    """
    file = fetch.local(path)
    if digest(str(file)) != expected.partition(":")[0]:
        raise UserError(
            f"init={path} has changed since this run was started: restore the old file, or start a new run."
        )
    weights.fit(weights.read(file, weights.marked(expected)), model.net, file)


def check_accuracy(run: Run, model: EnergyModel) -> None:
    """Raise UserError if the accuracy of a run's initial weights is below `init_accuracy` % on validation images.

    Training images are used if no validation split is held out. Only this check finds a wrong standardisation of
    pixels, which keys and shapes do not reveal. The default bound is the larger of 20 % and three times chance; of
    weights of the zoo, on their own data, 3 % below the published accuracy.
    """
    # Choose SEEN images, evenly spaced over the split.
    data, least = run.data, run.config.init_accuracy
    split = "validation" if data.length("validation") else "train"
    indices = evenly(data.length(split), SEEN)
    entry = fetch.known(run.config.init or "")
    if least is None and entry and f"data={run.config.data['name']}" in entry.fits:
        least = entry.accuracy - MARGIN

    # Count the correct predictions, some images at a time.
    view, correct = data.view(split, "plain"), 0
    size, device = min(BATCH, run.config.microbatch or BATCH), next(model.parameters()).device
    for images, labels in in_order(view, indices, size, run.config.workers):
        with torch.no_grad():
            correct += int((model.eval()(images.to(device)).argmax(1).cpu() == labels).sum())

    accuracy, bound = 100 * correct / len(indices), max(20, 300 / len(data.classes)) if least is None else least
    if accuracy < bound:
        raise UserError(
            f"init={run.config.init}: the weights fit the net, but of {len(indices)} {split} images only "
            f"{accuracy:.1f} % are classified correctly; at least {bound:.0f} % are expected. Usual causes: pixels "
            "are not standardised as in training (model.mean, model.std), the classes have another order, or the "
            "weights are untrained. "
            "If this accuracy is right, set init_accuracy=0."
        )


def last_stage(run: Run) -> StageRun | None:
    """The last stage of a run, which gives its model; None if the run trains nothing."""
    return run.stage_runs[-1] if run.stage_runs else None


def require_trained(run: Run, needed: Sequence[StageRun]) -> None:
    """Raise UserError, with the command that trains them, if any of the `needed` stages is not trained."""
    for stage in needed:
        if stage.done:
            continue
        if stage.ended:
            raise UserError(
                f"{run.name} has no trained model: its stage {stage.name} diverged or collapsed ({stage.folder})."
            )
        raise UserError(
            f"{run.name} is not trained yet: there are no weights of its stage {stage.name} in {stage.folder}. To "
            f"train it, or to continue its training: {run.config.command}"
        )


def load_trained(run: Run, stage_run: StageRun | None, device: torch.device) -> EnergyModel:
    """The model after a stage, or the initial model if the stage is None; in evaluation mode."""
    model = (initial if stage_run is None else untrained)(run).to(device)
    if stage_run is not None:
        model.load_state_dict(_load(stage_run, "weights", device))
    return model.eval()


def without_net(run: Run) -> EnergyModel:
    """The model of a method that gives no logits: it has no weights, and an image that is passed to it is an error."""
    constants = {key: run.config.model[key] for key in ("mean", "std")}
    return make(EnergyModel, "model", constants, net=NoNet()).eval()


class NoNet(nn.Module):
    """Stands where a method has no net."""

    def forward(self, x: Tensor) -> Tensor:
        """Refuse to compute logits."""
        raise RuntimeError("this method gives no logits")


def load_state(stage_run: StageRun | None, device: torch.device) -> State:
    """The state tensors that a stage saved at its end."""
    return {} if stage_run is None else _load(stage_run, "state", device)


def _load(stage_run: StageRun, name: Literal["weights", "state"], device: torch.device) -> dict[str, Tensor]:
    """Tensors that a stage saved at its end; UserError if a bit of them, or of the file that names them, changed."""
    try:
        digest = read_checked(stage_run.folder / "done.json").get(name, "")
        return load_tensors(stage_run.folder / f"{name}.safetensors", device, digest)
    except Damaged as error:
        raise UserError(f"{error} Restore a copy, or train the stage again: the same command with redo=true.") from None


def in_micro_batches(run: Run, model: Model) -> Model:
    """The model as evaluations use it: with `microbatch`, its net takes that many images at a time."""
    if run.config.microbatch:
        model.net = InMicroBatches(model.net, run.config.microbatch)
    return model


def evaluation(run: Run, device: torch.device) -> Evaluation:
    """The evaluation of the run's trained model under the run's protocol."""
    config, settings = run.config, sampling(run.config.protocol)
    starts = outliers(run)
    model = load_trained(run, last_stage(run), device) if run.method.has_net else without_net(run)
    subject = Subject(
        in_micro_batches(run, model).requires_grad_(False),
        run.data,
        device,
        samples=Samples(run.folder / "samples", settings),
        cache=run.root / "cache",
        weights=config.extractors,
        untrained=lambda: in_micro_batches(run, untrained(run)),
        judge=cache(lambda name: judge(run, name, device)),
        constants={key: config.model[key] for key in ("mean", "std")},
        held_out=bool(run.stage_runs),
        outliers=None if run.method.outliers else starts,
        workers=config.workers,
    )
    return Evaluation(
        subject,
        run.method,
        load_state(last_stage(run), device),
        starts,
        config.protocol,
        run.folder,
        changed.of_pieces(run),
        run.gives,
    )


def check_judge(run: Run, metric: Metric) -> None:
    """UserError if a metric names a run that judges samples, and that run cannot judge those of `run`."""
    if name := getattr(metric, "judge", None):
        _judge(run, name)


def judge(run: Run, name: str, device: torch.device) -> EnergyModel:
    """The trained net of another run of the same folder, which judges the run's samples; UserError if it cannot."""
    other = _judge(run, name)
    return in_micro_batches(run, load_trained(other, last_stage(other), device)).requires_grad_(False)


def _judge(run: Run, name: str) -> Run:
    """The run with a name; UserError if there is none, or if it cannot judge the samples of `run`."""
    other = load(find_run(str(run.root / valid_name(name)), run.root))
    if "classify" not in other.gives:
        raise UserError(f"judge={name}: method={other.config.method['name']} classifies nothing: choose another run.")
    if (list(other.data.classes), other.data.shape) != (list(run.data.classes), run.data.shape):
        raise UserError(
            f"judge={name} knows the classes of data={other.config.data['name']}, not those of "
            f"data={run.config.data['name']}: choose another run."
        )
    if _weights_of(other) == _weights_of(run):
        raise UserError(f"judge={name} has the weights that are judged: choose a run that was trained apart.")
    require_trained(other, other.stage_runs[-1:])
    return other


def _weights_of(run: Run) -> str | None:
    """What identifies a run's weights: the fingerprint of its last stage, or the digest of given ones."""
    stage = last_stage(run)
    return stage.fingerprint if stage else run.init


def not_given(run: Run) -> list[str]:
    """The keys of the protocol's scores that the method cannot have, for want of logits or samples."""
    whole = metrics(run.config.protocol)
    had = metrics(run.config.protocol, run.gives)
    return [key for name, metric in whole.items() if name not in had for key in metric.keys(run.data)]


def evaluation_of(folder: Path, rank: int) -> Evaluation:
    """The evaluation of the run in a folder, for worker process `rank`; workers are spread over the GPUs."""
    run = load(folder)
    return evaluation(run, prepare(run.config, worker=rank))


def evaluators(run: Run, device: torch.device) -> int:
    """Number of evaluation processes: as configured, or one per GPU with launcher=local and device=auto, else one."""
    whole = run.config.device == "auto" and device.type == "cuda" and run.config.launcher["name"] == "local"
    return run.config.evaluators or (torch.cuda.device_count() if whole else 1)


def prepare(config: Config, worker: int | None = None) -> torch.device:
    """Set this process's CPU threads, memory and CUDA device from a run's config; return the device for this rank.

    worker: number of this process among those of an evaluation, which are spread over the GPUs with device=auto.
    """
    if threads := config.threads or _cores_per_run(config.launcher):
        torch.set_num_threads(threads)
    keep_freed_memory()
    name = join().device(config.device)
    if worker is not None and name == "auto" and (gpus := torch.cuda.device_count()):
        name = f"cuda:{worker % gpus}"
    return choose_device(name)


def _cores_per_run(launcher: dict[str, Any]) -> int | None:
    """CPU cores per run with launcher=processes, as more threads would compete for cores; None with other launchers."""
    if launcher["name"] != "processes":
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // launcher["parallel"])
