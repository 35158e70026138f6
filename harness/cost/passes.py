"""Count the passes of the net in a step, and repeat them bare: the part of the cost that no code can avoid."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.core.device import Precision, computing, precision_in_use
from harness.core.energy import EnergyModel
from harness.core.walk import frozen

Kind = Literal["forward", "input gradient", "training"]
"""forward: logits only. input gradient: also ∇_x of them. training: also their gradient in the weights."""


@dataclass(frozen=True)
class Pass:
    """A pass of the net over a number of images; evaluating: in evaluation mode."""

    kind: Kind
    images: int
    evaluating: bool
    precision: Precision


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
