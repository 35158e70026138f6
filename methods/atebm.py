"""AT-EBM: an EBM by adversarial training, before DAT (Yin, Li & Rohde, ECCV 2022, arXiv 2012.06568).

Its net has one logit. Here s(x) = logsumexp f(x) takes its place, so that E(x) = −s(x) means the same for all methods.
The authors lengthen the walk after a number of epochs, which a curriculum with auc: 0 does after a number of images.
"""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.method import Ability, Batch, Loss, Method, State, Stream
from harness.core.optim import Training
from harness.core.random import PerImage
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, marginal_score, walk
from harness.methods.atjem import Contrast, Contrastive, binary_cross_entropy, gradient_penalty


def energy(logits: Tensor) -> Tensor:
    """E(x) = −s(x), which a walk climbs that makes images look less real."""
    return -marginal_score(logits)


@settings
class Binary(Contrastive):
    """Real images against contrastive images, without labels.

        L = 1/(2B) Σ_i [ softplus(−s(x'_i)) + softplus(s(õ_i)) ] + r1 · ½ · mean_i ||∇_x s(x'_i)||²
        õ_i: outliers walked up s for T steps, without a ball
        x'_i: real images walked down s in a ball; x' = x with attack: null

    Nothing has a label, so contrast.labels has no effect.

    A classifier of the worst images of both kinds detects outliers under attack (the paper's section on OOD).
    """

    contrast: Contrast
    attack: Walk | None
    training: Training
    r1: Factor = 0.0
    streams: ClassVar[tuple[Stream, ...]] = ("real", "outliers")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """BCE on the score, plus R1 if its weight is above 0."""
        contrastive = walk(model, batch.images["outliers"], marginal_score, self.contrast.walk, steps=int(state["T"]))
        real = batch.images["real"]
        if self.attack:
            real = walk(model, real, energy, self.attack)
        real = real.detach().requires_grad_(self.r1 > 0)
        scores = marginal_score(model(torch.cat([real, contrastive])))
        s_real, s_contrastive = scores.split([len(real), len(contrastive)])
        terms = {"bce": binary_cross_entropy(s_real, s_contrastive)}
        if self.r1:
            terms["r1"] = self.r1 * gradient_penalty(s_real, real)
        per_image = {"real": s_real, "contrastive": s_contrastive}
        monitors: dict[str, float | Tensor] = {f"s_{name}": s.detach().mean() for name, s in per_image.items()}
        return Loss(terms, monitors, per_image=per_image)


@settings
class ATEBM(Method):
    """One stage of training; it classifies nothing, and its samples have no class."""

    binary: Binary
    sampler: Walk

    @property
    def gives(self) -> Collection[Ability]:
        """Samples alone."""
        return ("generate",)

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """Ascent on s from outliers; `labels` have no effect."""
        return walk(model, starts, marginal_score, self.sampler, normal=rng.normal if self.sampler.noise else None)
