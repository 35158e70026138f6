"""How a stage is optimised: optimiser, learning rate by step, averaged weights."""

from collections.abc import Sequence
from math import cos, pi
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from harness.settings import settings


@settings
class Training:
    """The settings of a stage's training.

    epochs: the budget, in passes over the training split. batch: images per stream and step.
    schedule: the learning rate after `warmup` linear steps: constant, cosine to 0, or step (times `gamma` at
    each of the `milestones`, in epochs).
    ema: decay of the averaged weights, which then are the stage's result; null for the weights themselves.
    freeze_norm: batch normalisation stays in evaluation mode.
    bound: a loss beyond it, or one that is not finite, ends the run as diverged.
    """

    epochs: float
    batch: int
    optimizer: Literal["sgd", "adam", "adamw"]
    lr: float
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "constant"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.3
    warmup: int = 0
    ema: float | None = 0.999
    freeze_norm: bool = False
    bound: float = 1e8

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "lr", "bound"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), or null for none, not {self.ema}")
        if self.weight_decay < 0 or self.warmup < 0:
            raise ValueError("weight_decay and warmup must be 0 or more")

    def steps(self, images: int) -> int:
        """Optimiser steps for a training split of so many images; at least 1."""
        return max(1, round(self.epochs * images / self.batch))

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of so many."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return self.lr * (1 + cos(pi * step / steps)) / 2
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(step >= m / self.epochs * steps for m in self.milestones)
        return self.lr


def optimizer(parameters: Sequence[nn.Parameter], how: Training) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, Adam or AdamW; every parameter decays alike, as in the published runs."""
    if how.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            how.lr,
            momentum=how.momentum,
            nesterov=how.momentum > 0,
            weight_decay=how.weight_decay,
        )
    make = torch.optim.Adam if how.optimizer == "adam" else torch.optim.AdamW
    return make(parameters, how.lr, betas=how.betas, weight_decay=how.weight_decay)


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of weights and normalisation statistics (DAT: decay 0.999).

    The first update copies; after n updates the decay is min(decay, (1 + n) / (10 + n)).
    """

    def update(means: PARAM_LIST, values: PARAM_LIST, n: Tensor | int) -> None:
        if means[0].is_floating_point():  # torch hands over one dtype at a time
            d = min(decay, (1 + float(n)) / (10 + float(n)))
            torch._foreach_lerp_(means, values, 1 - d)  # pyright: ignore[reportPrivateImportUsage] - as swa_utils does
        else:  # counters of batches seen
            torch._foreach_copy_(means, values)  # pyright: ignore[reportPrivateImportUsage]

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
