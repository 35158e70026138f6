"""Count the passes of the net, in a step or in a whole training, and repeat them bare: a cost that no code avoids."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from harness.core.device import Precision, computing, precision_in_use
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Stage, State, Stream
from harness.core.walk import frozen
from harness.evaluation.work import Work
from harness.runs.standin import RandomImages, count_classes
from harness.training.batches import StageInputs
from harness.training.step import Step

if TYPE_CHECKING:  # steps are counted where only torch is installed
    from harness.runs.run import Run

Kind = Literal["forward", "input gradient", "training"]
"""forward: logits only. input gradient: also ∇_x of them. training: also their gradient in the weights."""


@dataclass(frozen=True)
class Pass:
    """A pass of the net over a number of images.

    evaluating: in evaluation mode. twice: the loss holds ∇_x of the logits, so that it is differentiated twice.
    """

    kind: Kind
    images: int
    evaluating: bool
    precision: Precision
    twice: bool = False


MOST_PASSES = 10_000
"""Passes of a step that are counted at most: far more than any method makes."""


def network_passes(run: "Run") -> dict[str, float]:
    """Passes of the net for each training image that every stage of a run makes, by the stage's name.

    A pass is a forward and a backward of one image, for a walk or for the weights; forwards alone are left out. Walks
    that grow are counted at their full length, so that a curriculum makes the number an upper bound.
    """
    images, stages = run.data.length("train"), list(run.method.stages.items())
    trained = stages[-1:] if run.config.init else stages
    return {
        name: with_gradient(passes_of_step(stage, True)[1]) * stage.training.steps(images) / images
        for name, stage in trained
    }


def with_gradient(passes: "Counter[Pass]") -> int:
    """Images that pass with a gradient, for a walk or for the weights; forwards alone are left out."""
    return sum(entry.images * times for entry, times in passes.items() if entry.kind != "forward")


def flop_of_step(run: "Run", name: str, logged: Mapping[str, float]) -> float:
    """FLOP of a step of a stage: of convolutions, matrix products and attention; an addition counts as one, too.

    logged: means of what the stage logged. A walk that grows counts at its mean length, if that was logged under the
    name that it has in the state, and else at its full length, which is an upper bound.
    """
    stage = run.method.stages[name]
    full, most = passes_of_step(stage, True)
    flop_at_most = flop_of_passes(run, most)
    begun, least = passes_of_step(stage, False)
    for figure in logged.keys() & full.keys():
        low, high = float(begun[figure]), float(full[figure])
        if low < high:
            share = (min(max(logged[figure], low), high) - low) / (high - low)
            return (1 - share) * flop_of_passes(run, least) + share * flop_at_most
    return flop_at_most


def flop_of_passes(run: "Run", passes: "Counter[Pass]") -> float:
    """FLOP of passes of a run's net over images of its data."""
    net = json.dumps(run.config.model, sort_keys=True), run.data.shape, count_classes(run.data)
    return sum(times * each.images * _flop_of_image(each.kind, each.twice, *net) for each, times in passes.items())


@cache
def passes_of_step(stage: Stage, full: bool) -> tuple[State, "Counter[Pass]"]:
    """The state and the passes of a step at the beginning of a stage, or where it costs most (`full`).

    They are counted on a net of one layer: their number depends on neither net nor data.
    """
    data = RandomImages((1, 4, 4), 10)
    sizes: dict[Stream, int] = {stream: stage.training.size(stream) for stream in stage.streams}
    with torch.random.fork_rng(devices=[]):
        model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(16, 10)), [0.5], [0.5])
        images: dict[Stream, Tensor] = {stream: torch.rand(size, *data.shape) for stream, size in sizes.items()}
    step = Step(stage, model, StageInputs(data, None, key=(0, "passes"), device=torch.device("cpu")))
    step.state = stage.at_full_length(step.state) if full else step.state
    state = {key: value.clone() for key, value in step.state.items() if value.numel() == 1}
    with count_passes(model) as passes:
        labels: dict[Stream, Tensor] = {stream: torch.arange(size) % 10 for stream, size in sizes.items()}
        step(0, Batch(images, labels))
    return state, passes


@cache
def _flop_of_image(kind: Kind, twice: bool, model: str, shape: tuple[int, int, int], classes: int) -> float:
    """FLOP of a pass over one image, counted on the device "meta", which computes nothing."""
    from harness.runs.build import drawn

    net = drawn(json.loads(model), RandomImages(shape, classes), 0, "meta").net
    with Work() as work:
        _pass(net, Pass(kind, 2, kind != "training", "fp32", twice), torch.empty(2, *shape, device="meta"))
    return work.flop / 2


@contextmanager
def count_passes(model: nn.Module) -> Iterator["Counter[Pass]"]:
    """Count the passes in the body; their kind follows from whether the logits and the weights require gradients."""
    passes: Counter[Pass] = Counter()

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        kind: Kind = "forward"
        if output.requires_grad:
            kind = "training" if any(p.requires_grad for p in module.parameters()) else "input gradient"
        x = inputs[0]
        twice = kind == "training" and x.requires_grad
        passes[Pass(kind, len(x), not module.training, precision_in_use(x.device), twice)] += 1
        if passes.total() > MOST_PASSES:
            raise ValueError(f"a step makes more than {MOST_PASSES:,} passes")

    hook = model.register_forward_hook(note)
    try:
        yield passes
    finally:
        hook.remove()


def bare(model: EnergyModel, passes: "Counter[Pass]", images: Tensor) -> Callable[[], None]:
    """Return a function that makes only these passes, over images on the device, N x C x H x W."""

    resident = {entry: images[torch.arange(entry.images, device=images.device) % len(images)] for entry in passes}

    def make() -> None:
        for entry, times in passes.items():
            for _ in range(times):
                with computing(entry.precision, images.device):
                    _pass(model, entry, resident[entry])
        model.zero_grad(set_to_none=True)

    return make


def _pass(model: nn.Module, one: Pass, x: Tensor) -> None:
    if one.kind == "training":
        model.train(not one.evaluating)
        x = x.detach().requires_grad_(one.twice)
        total = model(x).sum()
        if one.twice:
            (gradient,) = torch.autograd.grad(total, x, create_graph=True)
            total = total + gradient.square().sum()
        total.backward()
        return
    with frozen(model, evaluating=one.evaluating), torch.set_grad_enabled(one.kind == "input gradient"):
        x = x.detach().requires_grad_(one.kind == "input gradient")
        logits = model(x)
        if one.kind == "input gradient":
            torch.autograd.grad(logits.sum(), x)
