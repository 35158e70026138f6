"""Scores that separate data from outliers (high for the data), and attacks on outliers that raise them."""

from dataclasses import dataclass
from typing import Literal

import torch
from pyautoattack.autopgd_base import APGDAttack
from torch import Tensor, nn

from harness.core.errors import Diverged
from harness.core.random import seed_global
from harness.core.settings import settings
from harness.core.walk import MOST_STEPS, Objective, Walk, confidence, frozen, marginal_score, slope, walk

Scorer = Literal["energy", "msp", "gradient"]
"""s(x) = logsumexp f(x); the largest softmax probability; −‖∇ s(x)‖, the approximate mass of JEM, section 5.3."""


def log_odds(logits: Tensor) -> Tensor:
    """log p / (1 − p) of the largest softmax probability p per image: ordered like p, but never saturated at 1."""
    descending = logits.sort(1, descending=True).values
    return descending[:, 0] - descending[:, 1:].logsumexp(1)


OF_LOGITS: dict[str, Objective] = {"energy": marginal_score, "msp": log_odds}
"""The scores that an attack can raise; the gradient score would need second derivatives."""

PUBLISHED: dict[str, Objective] = {"energy": marginal_score, "msp": confidence}
"""The objective of the published attack for each score: for the largest probability it is KL( U ‖ p )."""


def ood_score(model: nn.Module, images: Tensor, scorer: Scorer) -> Tensor:
    """The scores of images, N, on the CPU; Diverged if one is not finite."""
    with frozen(model), torch.no_grad():
        if scorer == "gradient":
            scores = -slope(model, images, marginal_score)[0].flatten(1).norm(dim=1)
        else:
            scores = OF_LOGITS[scorer](model(images))
    if not scores.isfinite().all():
        raise Diverged(f"the {scorer} score of {int((~scores.isfinite()).sum())} of {len(scores)} images is not finite")
    return scores.cpu()


@settings
class PGD:
    """The published attack (RATIO, section 4; DAT): unit steps in an L2 ball, the last iterate, no restarts."""

    steps: int
    step: float
    eps: float

    def __post_init__(self) -> None:
        if self.steps < 1 or not (self.step > 0 and self.eps > 0):
            raise ValueError("steps must be 1 or more, step and eps above 0")
        Walk(self.steps, self.step, self.eps)  # raises what it refuses

    def attacked(self, model: nn.Module, images: Tensor, scorer: Scorer, seed: int) -> Tensor:
        """The last iterates of the walk, which draws no random numbers."""
        return walk(model, images, PUBLISHED[scorer], Walk(self.steps, self.step, self.eps))


@settings
class APGD:
    """APGD (Croce & Hein 2020) in an L2 ball, from random starts in it: the best iterate of all restarts.

    It maximises the score itself; a cross-entropy of it would be flat wherever a random start scores low.
    """

    steps: int
    restarts: int
    eps: float

    def __post_init__(self) -> None:
        if not (1 <= self.steps <= MOST_STEPS and 1 <= self.restarts <= MOST_STEPS and self.eps > 0):
            raise ValueError(f"steps and restarts must be 1 or more, and at most {MOST_STEPS:,}, eps above 0")

    def attacked(self, model: nn.Module, images: Tensor, scorer: Scorer, seed: int) -> Tensor:
        """The best images; the random starts depend on the seed and on the whole batch."""
        hill = _Hill(model, OF_LOGITS[scorer])
        attack = APGDAttack(hill, self.steps, "L2", self.restarts, self.eps, device=images.device, is_tf_model=True)
        with frozen(model), seed_global(seed):
            return attack.perturb(images, best_loss=True)


@dataclass(frozen=True)
class _Hill:
    """A score in the form in which APGD accepts the loss of a non-PyTorch model: value and gradient."""

    model: nn.Module
    score: Objective

    def predict(self, x: Tensor) -> Tensor:
        """Dummy logits, which APGD requires but does not use."""
        return x.new_zeros(len(x), 2)

    def get_logits_loss_grad_xent(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Dummy logits, the value to maximise, and its gradient."""
        gradient, value = slope(self.model, x, self.score)
        return self.predict(x), value, gradient
