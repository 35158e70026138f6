"""Optimisation of a stage: optimiser, learning rate schedule, averaged weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from math import cos, pi
from typing import Annotated, Any, Literal, TypeVar

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from harness.core.device import Precision
from harness.core.settings import later, settings

T = TypeVar("T")

MOST_EPOCHS = 1_000_000
"""The most passes over the training split, far more than anyone takes."""

foreach: Any = torch
"""torch's functions over lists of tensors, by which a GPU is asked once for a whole net; its type hints lack them."""


@settings
class Training:
    """The settings of a stage's training.

    epochs: passes over the training split. most_images: the most images of it that are seen, whatever the epochs say;
    null for no bound. batch: labelled images per step; real_batch: real images and outliers per step, null for the same
    number.
    schedule: the learning rate after `warmup` linear steps: constant, cosine to 0, or step (times `gamma` at
    each of the `milestones`, in epochs).
    ema: decay of the averaged weights, which then are the stage's result; null uses the weights themselves.
    freeze_norm: batch normalisation stays in evaluation mode.
    sharpness: radius ρ of sharpness-aware minimisation, 0 for none; adaptive: relative to each weight (ASAM).
    awp: radius γ of adversarial weight perturbation, relative to the norm of each layer's weights; 0 for none.
    precision: of the network's training pass; walks have their own.
    bound: a loss above it, or one that is not finite, ends the run as diverged.
    collapse: this number of validation accuracies at chance, in a row after one above it, ends the run as collapsed;
    null never ends it.
    """

    epochs: float
    batch: int
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: float
    real_batch: int | None = None
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.3
    warmup: int = 0
    ema: float | None = 0.999
    freeze_norm: bool = False
    sharpness: float = 0.0
    adaptive: bool = True
    bound: float = 1e8
    precision: Precision = later(default="fp32")
    collapse: int | None = later(default=3)
    most_images: Annotated[int, Ge(1)] | None = later(default=None)
    awp: float = later(default=0.0)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr", "bound"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), or null for none, not {self.ema}")
        if self.real_batch is not None and self.real_batch < 1:
            raise ValueError(f"real_batch must be 1 or more, or null for batch, not {self.real_batch}")
        if min(self.weight_decay, self.warmup, self.sharpness, self.awp) < 0:
            raise ValueError("weight_decay, warmup, sharpness and awp must be 0 or more")
        if self.sharpness and self.awp:
            raise ValueError("sharpness and awp cannot be combined: set one of them to 0")
        if self.collapse is not None and self.collapse < 3:
            raise ValueError(f"collapse must be 3 or more, or null for never, not {self.collapse}")
        if self.epochs > MOST_EPOCHS:
            raise ValueError(f"epochs must be at most {MOST_EPOCHS:,}, not {self.epochs}")
        if not all(0 <= decay < 1 for decay in (self.momentum, *self.betas)):
            raise ValueError(f"momentum and betas must be in [0, 1), not {self.momentum} and {list(self.betas)}")
        if not (self.gamma > 0 and all(epoch >= 0 for epoch in self.milestones)):
            raise ValueError("gamma must be above 0, and milestones 0 or more")

    @property
    def perturbs(self) -> bool:
        """Whether gradients are taken at nearby weights of higher loss."""
        return self.sharpness > 0 or self.awp > 0

    def size(self, stream: str) -> int:
        """The number of images of a stream per step."""
        return self.batch if stream == "labelled" or self.real_batch is None else self.real_batch

    def steps(self, images: int) -> int:
        """The number of optimiser steps for a training split of `images` images; at least 1."""
        seen = self.epochs * images
        return max(1, round(min(seen, self.most_images or seen) / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step, counted from 0, of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return self.lr * (1 + cos(pi * step / steps)) / 2
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(step >= m / self.epochs * steps for m in self.milestones)
        return self.lr


def scaled(part: T, budget: float) -> T:
    """Settings in which every training, at any depth, takes `budget` times its epochs, milestones, warm-up and bound.

    ValueError if a training cannot be that long or short.
    """
    if isinstance(part, Training):
        milestones = tuple(budget * milestone for milestone in part.milestones)
        warmup = round(budget * part.warmup)
        most = part.most_images and max(1, round(budget * part.most_images))
        return replace(part, epochs=budget * part.epochs, milestones=milestones, warmup=warmup, most_images=most)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    parts = {field.name: scaled(getattr(part, field.name), budget) for field in fields(part) if field.init}
    return replace(part, **parts)


def optimizer(parameters: Sequence[nn.Parameter], how: Training) -> torch.optim.Optimizer:
    """SGD with momentum, Adam or AdamW; weight decay applies to all parameters, as in the published runs."""
    if how.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            how.lr,
            momentum=how.momentum,
            nesterov=how.nesterov and how.momentum > 0,
            weight_decay=how.weight_decay,
        )
    make = torch.optim.Adam if how.optimizer == "adam" else torch.optim.AdamW
    return make(parameters, how.lr, betas=how.betas, weight_decay=how.weight_decay)


@contextmanager
def sharpest(model: nn.Module, how: Training) -> Iterator[None]:
    """Move the model to nearby weights of higher loss, by the gradients g that it holds; restore it on leaving.

    SAM (Foret et al. 2021): θ' = θ + ρ · t² g / || t g ||_2 over all parameters jointly, with t = 1, or with t = |θ|
    (ASAM, Kwon et al. 2021). AWP (Wu, Xia & Wang 2020): w' = w + γ · ||w||_2 · g / ||g||_2 for the weights w of each
    layer; parameters of one dimension, biases and those of normalisation, stay.
    Within the context normalisation uses batch statistics and does not update the running ones.
    """
    parameters = [p for p in model.parameters() if p.grad is not None and (p.dim() > 1 or not how.awp)]
    before = [p.detach().clone() for p in parameters]
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training]
    # Climb, and stop updates of the running statistics.
    with torch.no_grad():
        foreach._foreach_add_(parameters, _by_layer(parameters, how) if how.awp else _jointly(parameters, how))
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        with torch.no_grad():
            foreach._foreach_copy_(parameters, before)


def _jointly(parameters: list[nn.Parameter], how: Training) -> list[Tensor]:
    """The step of SAM or ASAM."""
    move = foreach._foreach_abs(parameters) if how.adaptive else [torch.ones_like(p) for p in parameters]
    scaled = foreach._foreach_mul(move, [p.grad for p in parameters])
    length = torch.stack(foreach._foreach_norm(scaled)).norm() + 1e-12
    foreach._foreach_mul_(move, how.sharpness)
    foreach._foreach_mul_(move, scaled)
    foreach._foreach_div_(move, length)
    return move


def _by_layer(parameters: list[nn.Parameter], how: Training) -> list[Tensor]:
    """The step of AWP; a layer without a gradient stays."""
    gradients = [p.grad for p in parameters]
    lengths = foreach._foreach_norm(gradients)
    foreach._foreach_add_(lengths, 1e-20)
    factors = foreach._foreach_div(foreach._foreach_norm(parameters), lengths)
    foreach._foreach_mul_(factors, how.awp)
    return foreach._foreach_mul(gradients, factors)


class Average(AveragedModel):
    """An exponential moving average of weights and normalisation statistics (DAT: decay 0.999).

    The first update copies; after n updates the decay is min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the model's weights and statistics into the average.

        torch's own method sends the number of updates through the device, for which the host would wait in each step.
        """
        n = int(self.n_averaged)  # a tensor on the CPU
        d = min(self.decay, (1 + n) / (10 + n))
        both = [[*one.parameters(), *one.buffers()] for one in (self.module, model)]
        # Average floats; copy counters of batches, and in the first update everything.
        for averaged in (True, False):
            pairs = [pair for pair in zip(*both, strict=True) if (n > 0 and pair[0].is_floating_point()) == averaged]
            means, values = [mean for mean, _ in pairs], [value for _, value in pairs]
            if pairs and averaged:
                foreach._foreach_lerp_(means, values, 1 - d)
            elif pairs:
                foreach._foreach_copy_(means, values)
        self.n_averaged += 1
