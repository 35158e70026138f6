"""What the sections of benchmarks/gpu.py measure, one function for each; `training_step` finds this checkout."""

import argparse
import gc
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar, get_args
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.optim.swa_utils import AveragedModel
from training_step import measured, net

from harness.core.device import Precision, choose_device, computing, full_precision
from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.optim import Average, Training
from harness.core.walk import Walk, cast_once, frozen, joint_logit, slope, walk
from harness.methods.at import Robust
from harness.models.digits import Digits as DigitsNet
from harness.runs.standin import RandomImages, RandomOutliers
from harness.training.batches import StageInputs
from harness.training.checkpoint import copy_to_cpu
from harness.training.step import Step

T = TypeVar("T")
CPU = torch.device("cpu")
SHAPE, CLASSES = (3, 32, 32), 10
BATCH = 8
"""Batch size of the steps that are not timed."""


@dataclass(frozen=True)
class How:
    """How to measure: on which device, whether at tiny sizes, and what takes a figure, by name, as JSON."""

    device: torch.device
    tiny: bool
    tell: Callable[[str, Any], None]

    def size(self, full: T, tiny: T) -> T:
        """Choose between both sizes."""
        return tiny if self.tiny else full


def prepare(device: str, tiny: bool, tell: Callable[[str, Any], None]) -> tuple[How, str]:
    """Choose the device with this name; auto is a GPU if there is one. Also return why it cannot be used, or ""."""
    if tiny:
        torch.set_num_threads(1)
    try:
        return How(choose_device(device), tiny, tell), ""
    except UserError as error:
        return How(CPU, tiny, tell), str(error)


# 0. The machine


def machine(how: How) -> None:
    """Tell the GPU, the versions, and which flags of TF32 hold in each precision."""
    if shutil.which("nvidia-smi"):
        fields = "name,driver_version,memory.total,clocks.max.sm,power.limit"
        asked = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
        how.tell("nvidia-smi", subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip())
    how.tell(
        "torch", {"version": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    )
    if how.device.type == "cuda":
        how.tell("capability", torch.cuda.get_device_capability(how.device))
        how.tell("nccl", torch.cuda.nccl.version() if torch.distributed.is_nccl_available() else "missing")
    packages = ("torchvision", "timm", "torch-fidelity", "pyautoattack", "nvidia-ml-py", "mlflow", "triton")
    how.tell("packages", {name: _version(name) for name in packages})
    _flags(how)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def _flags(how: How) -> None:
    def flags() -> dict[str, bool]:
        matmul: Any = torch.backends.cuda.matmul
        cudnn: Any = torch.backends.cudnn
        return {"matmul": matmul.allow_tf32, "convolutions": cudnn.allow_tf32, "deterministic": cudnn.deterministic}

    how.tell("TF32 by default", flags())
    for precision in get_args(Precision):
        with computing(precision, how.device):
            how.tell(f"TF32 in {precision}", flags())
    with full_precision():
        how.tell("TF32 in full precision", flags())
    # Other code in a process may have set torch's newer flags, which must not make ours raise.
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = "tf32"
        try:
            with computing("fp32", how.device), full_precision():
                outcome = "works"
        except RuntimeError as error:
            outcome = str(error).splitlines()[0]
        how.tell("after torch.backends.fp32_precision = 'tf32'", outcome)


# 1. Agreement


def agreement(how: How) -> None:
    """Compare logits, directions and samples of the same weights and images with those of the CPU in fp32."""
    nets = {"wrn-10-1": (net("wrn-10-1", CLASSES), SHAPE), "digits": (DigitsNet(10, 1, 32, "batch", "silu"), (1, 8, 8))}
    generator = torch.Generator().manual_seed(0)
    for name, (layers, shape) in nets.items():
        model = EnergyModel(layers, (0.5,) * shape[0], (0.25,) * shape[0]).eval()
        x, y = torch.rand(how.size(40, 4), *shape, generator=generator), torch.arange(how.size(40, 4)) % CLASSES
        here = _judged(model, x, y, "fp32")
        there = deepcopy(model).to(how.device)
        for precision in get_args(Precision):
            logits, directions, bytes_ = _judged(there, x.to(how.device), y.to(how.device), precision)
            cosines = nn.functional.cosine_similarity(directions, here[1])
            figures = {
                "logits, relative error": float((logits - here[0]).abs().max() / here[0].abs().max()),
                "cosine, mean": float(cosines.mean()),
                "cosine, lowest": float(cosines.min()),
                "equal bytes of samples": float((bytes_ == here[2]).float().mean()),
            }
            how.tell(f"{name} {precision}", figures)


def _judged(model: EnergyModel, x: Tensor, y: Tensor, precision: Precision) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, input gradients and the bytes of samples, on the CPU."""
    with computing(precision, x.device):
        gradient, _ = slope(model, x, joint_logit(y))
        with torch.no_grad():
            logits = model(x)
    images = walk(model, x, joint_logit(y), Walk(10, 0.1, precision=precision))
    return logits.double().cpu(), gradient.flatten(1).double().cpu(), (images * 255).to(torch.uint8).cpu()


# 2. Waits, and 3. resume


def _stages(how: How, methods: list[str]) -> Iterator[tuple[str, Callable[[], Step]]]:
    """Yield each stage of some methods on digits, as a function that makes its step from the beginning."""
    import harness
    from harness.runs.build import stage_inputs, untrained

    for method in methods:
        (run,) = harness.plan(f"method={method}", f"device={how.device}", "tracking=off", "outliers.count=100")
        for name, stage in run.method.stages.items():
            epochs = 4 * BATCH / run.data.length("train")
            small = replace(stage, training=replace(stage.training, batch=BATCH, epochs=epochs))

            def step(run: Any = run, name: str = name, small: Any = small) -> Step:  # noqa: ANN401 - a Run and a Stage
                inputs = replace(stage_inputs(run, name, small, how.device), workers=0)
                return Step(small, untrained(run).to(how.device), inputs)

            yield f"{method}/{name}", step


def _methods() -> list[str]:
    from harness.core.registry import names

    return [method for method in names("method") if method != "pretrained"]


def syncs(how: How) -> None:
    """Count where the third step of each stage waits for the GPU, as torch reports it."""
    for name, make in _stages(how, _methods()):
        step = make()
        for number, batch in step.batches():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn" if number == 2 else "default")
                step(number, batch)
            torch.cuda.set_sync_debug_mode("default")
            if number == 2:
                break
        waits = [warning for warning in caught if "synchronizing" in str(warning.message)]
        places = Counter(f"{warning.filename}:{warning.lineno}" for warning in waits)
        how.tell(name, dict(places.most_common()))


def resume(how: How) -> None:
    """Tell whether a stage's training gives the same bits again, and after a resume, with cuDNN as it is and not."""
    stages = list(_stages(how, _methods() if not how.tiny else ["at", "jem"]))
    stages.append(("wrn-16-4 at", partial(_wide, how)))
    for name, make in stages:
        for label, deterministic in (("as it is", False), ("deterministic", True)):
            with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=deterministic):
                steps = how.size(20, 2) if name.startswith("wrn") else how.size(4, 2)
                once, again, resumed = (_digest(make, steps, at) for at in (None, None, steps // 2))
            how.tell(f"{name}, {label}", {"repeats": once == again, "resumes": once == resumed})


def _wide(how: How) -> Step:
    """Make AT's step of a net of the papers, from seed 0."""
    torch.manual_seed(0)
    data = RandomImages(SHAPE, CLASSES)
    layers = net(how.size("wrn-16-4", "wrn-10-1"), CLASSES)
    model = EnergyModel(layers, (0.5,) * 3, (0.25,) * 3).to(how.device)
    stage = Robust(Walk(how.size(10, 1), 0.1, 0.5), Training(1, how.size(128, 2), "sgd", 0.1, ema=0.999))
    return Step(stage, model, StageInputs(data, RandomOutliers(data), ("gpu",), how.device))


def _digest(make: Callable[[], Step], steps: int, interrupted_at: int | None) -> str:
    """Return a digest of weights and state after some steps, resumed in a new step if they are interrupted."""
    step = make()
    for number, batch in step.batches():
        if number == steps:
            break
        if number == interrupted_at:
            saved, step = copy_to_cpu(step.content()), make()
            step.restore(saved)
        step(number, batch)
    digest = hashlib.sha256()
    for value in (*step.result().state_dict().values(), *step.whole_state().values()):
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# 4. A run


def run(how: How) -> None:
    """Run AT-JEM on digits from plan to record, once as it is and once killed in its training and continued."""
    epochs = how.size(2.0, 0.05)  # about 27 steps of each stage, or 5
    words = [
        *("method=atjem", f"device={how.device}", "seed=0", "tracking=off", "checkpoint_seconds=0", *QUICK),
        *(f"method.{stage}.training.epochs={epochs}" for stage in ("robust", "joint")),
        *how.size((), TINY_RUN),
    ]
    with tempfile.TemporaryDirectory() as folder:
        whole, seconds = _record(Path(folder, "whole"), words)
        how.tell("seconds", round(seconds, 1))
        for stage in whole["cost"]["stages"]:
            how.tell(stage["name"], {key: stage[key] for key in ("seconds", "peak_memory_mb", "joules", "steps")})
        killed, _ = _record(Path(folder, "killed"), words, kill=True)
        # The records agree in outcomes if training resumed exactly, and nearly if a GPU added in another order.
        bits = [
            (a, b)
            for key, bits in whole["outcomes"].items()
            for a, b in zip(bits, killed["outcomes"][key], strict=True)
        ]
        how.tell("resumed", sum(stage["resumed"] for stage in killed["cost"]["stages"]))
        how.tell("equal outcomes", sum(a == b for a, b in bits) / len(bits))
        scores = {key: (score["value"], killed["scores"][key]["value"]) for key, score in whole["scores"].items()}
        how.tell("scores, whole and killed", {key: pair for key, pair in scores.items() if "/" not in key})


QUICK = ("protocol=quick", "protocol.metrics.robustness.count=20", "protocol.metrics.robustness.eps=3")
"""An evaluation in seconds: at this radius the first attack breaks every image."""

TINY_RUN = (
    *("threads=1", "model.width=4", "outliers.count=200", "data.test=20", "method.joint.contrast.walk.steps=2"),
    *("method.robust.training.batch=16", "method.joint.training.batch=16", "protocol.metrics.robustness.chunk=10"),
    *("protocol.samples.count=70", "protocol.samples.chunk=70", "protocol.metrics.fidelity.kid_subset=20"),
    *("~protocol.metrics.ood", "~protocol.metrics.counterfactuals"),
)


def _record(folder: Path, words: list[str], kill: bool = False) -> tuple[dict[str, Any], float]:
    """Return the record of a run in a process of its own, and its seconds; with `kill`, kill it once and go on."""
    folder.mkdir()
    command, started = [sys.executable, "-m", "harness", *words], time.monotonic()
    with (folder / "output").open("w") as output:
        begin = partial(subprocess.Popen, command, cwd=folder, stdout=output, stderr=output)
        process = begin()
        # Kill it as soon as there is a checkpoint, or later if it is quicker than this look.
        while kill and process.poll() is None and not list(folder.glob("runs/stages/joint-*/checkpoints/*.pt")):
            time.sleep(0.02)
        if kill:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = begin()
        process.wait()
    if process.returncode:
        raise RuntimeError(f"the run failed: {(folder / 'output').read_text()[-500:]!r}")
    (record,) = folder.glob("runs/atjem-*/record.json")
    return json.loads(record.read_text()), time.monotonic() - started


# 5. Speed, and 6. photographs


def speed(how: How, case: str) -> None:
    """Time AT-JEM's joint step of a wide net at 32 pixels: `case` is its name, precision, and what else is special."""
    name, precision, *more = case.split()
    compiled = "walk" if "compiled-walk" in more else "compiled" in more
    _step(how, name, precision, 16 if "16-images" in more else 128, 10 if compiled else 40, compiled)


def photographs(how: How, case: str) -> None:
    """Time the same step at 256 pixels."""
    name, precision = case.split()
    _step(how, name, precision, 64 if name == "resnet50" else 32, 15)


def _step(how: How, name: str, precision: str, batch: int, steps: int, compiled: bool | str = False) -> None:
    asked = argparse.Namespace(
        net=how.size(name, "wrn-10-1"),
        batch=how.size(batch, 2),
        T=how.size(steps, 1),
        precision=precision,
        walk_precision=precision,
        compile=False if how.tiny else compiled,
        device=str(how.device),
        rounds=how.size(2 if precision != "fp32" else 1, 1),  # a step in fp32 takes seconds
    )
    timing = measured(asked)
    for variant, seconds in timing.seconds.items():
        figures = {"ms": 1e3 * median(seconds), "times ours": timing.ratio(variant), "MB": timing.memory[variant] / 1e6}
        how.tell(variant, figures)
    how.tell("first step, s", timing.first)
    how.tell("sections, ms", {section: 1e3 * seconds for section, seconds in timing.sections.items()})


# 7. Levers


def levers(how: How) -> None:
    """Time one input gradient of WRN-34-10, at two batch sizes, with each change that could make it faster."""
    _updates(how)
    plain = EnergyModel(net(how.size("wrn-34-10", "wrn-10-1"), CLASSES), (0.5,) * 3, (0.25,) * 3).to(how.device).eval()
    last = deepcopy(plain).to(memory_format=torch.channels_last)
    plain.requires_grad_(False), last.requires_grad_(False)
    folded = deepcopy(last)
    folded.net = fuse(folded.net)  # each normalisation that follows a convolution becomes a part of it
    precise: dict[str, Callable[[], AbstractContextManager[None]]] = {
        precision: partial(computing, precision, how.device) for precision in get_args(Precision)
    }
    for batch in how.size((128, 16), (2, 1)):
        x = torch.rand(batch, *SHAPE, device=how.device)
        y = torch.arange(batch, device=how.device) % CLASSES
        nhwc = x.contiguous(memory_format=torch.channels_last)
        for name, model, images, context in (
            ("fp32", plain, x, precise["fp32"]),
            ("tf32", plain, x, precise["tf32"]),
            ("tf32, channels last", last, nhwc, precise["tf32"]),
            ("bf16", plain, x, precise["bf16"]),
            ("bf16, weights channels last", last, x, precise["bf16"]),
            ("bf16, normalisation folded", folded, x, precise["bf16"]),
        ):
            with context():
                how.tell(f"{name}, {batch} images", _milliseconds(how, partial(slope, model, images, joint_logit(y))))
        with precise["bf16"]():
            work = partial(slope, last, x, joint_logit(y))
            with cast_once(last, "bf16"):
                how.tell(f"bf16, weights cast once a walk, {batch} images", _milliseconds(how, work))
            # As it would be if contrastive and attack walks were one batch for the steps that both have.
            pair = partial(slope, last, torch.cat([x, x]), joint_logit(torch.cat([y, y])))
            how.tell(f"bf16, two walks apart, {batch} images", _milliseconds(how, lambda work=work: (work(), work())))
            how.tell(f"bf16, two walks as one batch, {batch} images", _milliseconds(how, pair))
        # What needs a compiler or a GPU comes last.
        with precise["bf16"]():
            for name, make in (
                ("compiled", _compiled),
                ("compiled, with CUDA graphs", partial(_compiled, mode="reduce-overhead")),
                ("CUDA graph", _graph),
            ):
                try:
                    figure: object = _milliseconds(how, make(how, last, x, y))
                except (RuntimeError, NotImplementedError) as error:
                    figure = str(error).splitlines()[0]
                how.tell(f"bf16, {name}, {batch} images", figure)


def _updates(how: How) -> None:
    """Time an update of all weights' average, in one call for all tensors as in the harness, and tensor by tensor."""
    model = net(how.size("wrn-34-10", "wrn-10-1"), CLASSES).to(how.device)
    average, plain = Average(model, 0.999), AveragedModel(model, avg_fn=lambda a, b, _: torch.lerp(a, b, 1e-3))
    for name, updated in (("in one call", average), ("tensor by tensor", plain)):
        how.tell(f"average of weights, {name}", _milliseconds(how, partial(updated.update_parameters, model)))


def _compiled(how: How, model: EnergyModel, x: Tensor, y: Tensor, mode: str = "default") -> Callable[[], object]:
    if how.tiny:
        raise NotImplementedError("not at tiny sizes")
    compiled = deepcopy(model)
    compiled.compile(dynamic=False, mode=mode)
    return partial(slope, compiled, x, joint_logit(y))


def _graph(how: How, model: EnergyModel, x: Tensor, y: Tensor) -> Callable[[], object]:
    """Record an input gradient as a CUDA graph, after some passes on another stream, and return its replay."""
    if how.device.type != "cuda":
        raise NotImplementedError("needs a GPU")
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for _ in range(3):
            slope(model, x, joint_logit(y))
    torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph):
        slope(model, x, joint_logit(y))
    return graph.replay


def _milliseconds(how: How, work: Callable[[], object]) -> float:
    """Return the median time of some work, after three calls that are not timed."""
    times: list[float] = []
    for _ in range(how.size(23, 4)):
        _synchronise(how)
        started = time.perf_counter()
        work()
        _synchronise(how)
        times.append(1e3 * (time.perf_counter() - started))
    return median(times[3:])


def _synchronise(how: How) -> None:
    if how.device.type == "cuda":
        torch.cuda.synchronize(how.device)


# 8. AutoAttack

LENGTHS = {"apgd-ce": 100, "apgd-t": 9 * 100, "fab-t": 9 * 100, "square": 5000}
"""Iterations of each attack of AutoAttack's standard version, on an image that stands until the end."""


def attacks(how: How) -> None:
    """Time the iterations of each attack, in true fp32 and in TF32; and the hours of 10,000 images that all stand."""
    from pyautoattack import AutoAttack

    model = EnergyModel(net(how.size("wrn-28-10", "wrn-10-1"), CLASSES), (0.5,) * 3, (0.25,) * 3).to(how.device).eval()
    x = torch.rand(how.size(200, 2), *SHAPE, device=how.device)
    # At this radius no image falls, so every iteration works on all of them.
    attack = AutoAttack(model, norm="L2", eps=1e-6, seed=0, device=how.device)
    attack.verbose = False
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 1
    iterations = {
        "apgd-ce": how.size(30, 2),
        "apgd-t": how.size(30, 2),
        "fab-t": how.size(10, 2),
        "square": how.size(50, 2),
    }
    attack.apgd.n_iter, attack.apgd_targeted.n_iter = iterations["apgd-ce"], iterations["apgd-t"]
    attack.fab.n_iter, attack.square.n_queries = iterations["fab-t"], iterations["square"]
    for precision, context in (("fp32", full_precision()), ("tf32", computing("tf32", how.device))):
        hours = 0.0
        with context, frozen(model):
            with torch.no_grad():
                y = model(x).argmax(1)
            for name, number in iterations.items():
                attack.attacks_to_run = [name]
                _synchronise(how)
                started = time.perf_counter()
                attack.run_standard_evaluation(x, y, batch_size=len(x))
                _synchronise(how)
                rate = len(x) * number / (time.perf_counter() - started)
                how.tell(f"{name}, {precision}, images x iterations a second", rate)
                hours += 10_000 * LENGTHS[name] / rate / 3600
        how.tell(f"hours of 10,000 images that stand, one norm, {precision}", hours)


# 9. Features


def features(how: How) -> None:
    """Time Inception, with random weights, on 8-bit images, and the Fréchet distance of 2,048 features."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_features_to_statistics

    from harness.evaluation.features import Features, source
    from harness.evaluation.reference import frechet

    images = torch.randint(0, 256, (how.size(5000, 4), *SHAPE), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "weights.pth")
        torch.save({}, file)
        with patch.object(FeatureExtractorInceptionV3, "load_state_dict"):  # so that the weights stay random
            extractor = Features(source("inception"), file, how.device, given=True)
    for batch in how.size((64, 256), (2,)):
        with patch("harness.evaluation.features.BATCH", batch):
            extractor(images[:batch])
            started = time.perf_counter()
            extractor(images)
            how.tell(f"images a second, {batch} at a time", len(images) / (time.perf_counter() - started))
    # The distance depends on the CPU alone; numbers of a normal distribution take as long as features.
    dims = how.size(2048, 64)
    one, other = (torch.randn(how.size(5000, 100), dims, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    statistics, started = fid_features_to_statistics(other), time.perf_counter()
    frechet(one, statistics)
    how.tell(f"seconds of the Fréchet distance, {dims} features, {os.cpu_count()} cores", time.perf_counter() - started)


# 10. Memory


def memory(how: How) -> None:
    """Forecast the largest batch as `bench fit=true` does; on a GPU, a little less must fit, and more must not."""
    import harness
    from harness.cost.bench import _step, _step_bytes, largest_batch

    words = how.size(("data=cifar10", "model=wrn"), ("model.width=4", "outliers.count=100"))
    walks = ("method.joint.contrast.walk.steps=1", "method.joint.attack.steps=1", "precision=tf32")
    (run,) = harness.plan("method=atjem", f"device={how.device}", "tracking=off", *words, *walks)
    stage = run.stage_runs[-1]
    most = largest_batch(run, stage, how.device)
    how.tell("largest batch", most)
    if how.device.type != "cuda":
        how.tell("whether it fits", "needs a GPU")
        return
    for share in (0.95, 1.3):
        gc.collect()
        torch.cuda.empty_cache()
        try:
            used = _step_bytes(_step(run, stage, how.device, int(share * most)))
            how.tell(f"{share} of it", {"MB": used / 1e6, "fits": True})
        except torch.OutOfMemoryError as error:
            how.tell(f"{share} of it", {"fits": False, "message": str(error).splitlines()[0]})
