"""Count the passes of the net, in a step or in a whole training, and repeat them bare: a cost that no code avoids."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from harness.core.device import Precision, computing, precision_in_use
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Stage, Stream
from harness.core.walk import frozen
from harness.cost.standin import RandomImages
from harness.training.batches import StageInputs
from harness.training.step import Step

if TYPE_CHECKING:  # steps are counted where only torch is installed
    from harness.runs.run import Run

Kind = Literal["forward", "input gradient", "training"]
"""forward: logits only. input gradient: also ∇_x of them. training: also their gradient in the weights."""


@dataclass(frozen=True)
class Pass:
    """A pass of the net over a number of images; evaluating: in evaluation mode."""

    kind: Kind
    images: int
    evaluating: bool
    precision: Precision


def network_passes(run: "Run") -> dict[str, float]:
    """Passes of the net for each training image that every stage of a run makes, by the stage's name.

    A pass is a forward and a backward of one image, for a walk or for the weights; forwards alone are left out. Walks
    that grow are counted at their full length, so that a curriculum makes the number an upper bound.
    """
    images, stages = run.data.length("train"), list(run.method.stages.items())
    trained = stages[-1:] if run.config.init else stages
    return {name: _passes_of_step(stage) * stage.training.steps(images) / images for name, stage in trained}


def _passes_of_step(stage: Stage) -> int:
    """Passes in a step of a stage, counted on a net of one layer: their number depends on neither net nor data."""
    data = RandomImages((1, 4, 4), 10)
    sizes: dict[Stream, int] = {stream: stage.training.size(stream) for stream in stage.streams}
    with torch.random.fork_rng(devices=[]):
        model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(16, 10)), [0.5], [0.5])
        images: dict[Stream, Tensor] = {stream: torch.rand(size, *data.shape) for stream, size in sizes.items()}
    # Take one step at full length, and leave out passes without a gradient.
    step = Step(stage, model, StageInputs(data, None, key=(0, "passes"), device=torch.device("cpu")))
    step.state = stage.at_full_length(step.state)
    with count_passes(model) as passes:
        labels: dict[Stream, Tensor] = {stream: torch.arange(size) % 10 for stream, size in sizes.items()}
        step(0, Batch(images, labels))
    return sum(entry.images * times for entry, times in passes.items() if entry.kind != "forward")


@contextmanager
def count_passes(model: nn.Module) -> Iterator["Counter[Pass]"]:
    """Count the passes in the body; their kind follows from whether the logits and the weights require gradients."""
    passes: Counter[Pass] = Counter()

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        kind: Kind = "forward"
        if output.requires_grad:
            kind = "training" if any(p.requires_grad for p in module.parameters()) else "input gradient"
        passes[Pass(kind, len(inputs[0]), not module.training, precision_in_use(inputs[0].device))] += 1

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


def _pass(model: EnergyModel, one: Pass, x: Tensor) -> None:
    if one.kind == "training":
        model.train(not one.evaluating)
        model(x).sum().backward()
        return
    with frozen(model, evaluating=one.evaluating), torch.set_grad_enabled(one.kind == "input gradient"):
        x = x.detach().requires_grad_(one.kind == "input gradient")
        logits = model(x)
        if one.kind == "input gradient":
            torch.autograd.grad(logits.sum(), x)
