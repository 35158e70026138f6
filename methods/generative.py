"""Generative only: AT-JEM's second stage without the classifier, a class-conditional binary EBM."""

from typing import ClassVar

import torch
from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, joint_logit
from harness.methods.at import Robust
from harness.methods.atjem import Contrast, Contrastive, binary_cross_entropy, gradient_penalty


@settings
class Generate(Contrastive):
    """Real images of a class against contrastive images of that class; no cross-entropy.

        L = 1/(2B) Σ_i [ softplus(−f_{y_i}(x_i)) + softplus(f_{y_i}(õ_i)) ] + r1 · ½ · mean_i ||∇_x f_{y_i}(x_i)||²

    The BCE uses the joint logit here: with the marginal score nothing would tie logit y to class y any more.
    Without adversarial cross-entropy nothing bounds the input gradients; R1 does that instead.
    """

    contrast: Contrast
    training: Training
    r1: Factor = 0.0
    streams: ClassVar[tuple[Stream, ...]] = ("real", "outliers")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """BCE on the joint logit, plus R1 if its weight is above 0."""
        contrastive, target = self.contrast.images(model, batch, state, shard)
        real = batch.images["real"].detach().requires_grad_(self.r1 > 0)
        logits_real, logits_contrastive = model(torch.cat([real, contrastive])).split([len(real), len(contrastive)])
        joint_real = joint_logit(batch.labels["real"])(logits_real)
        joint_contrastive = joint_logit(target)(logits_contrastive)
        terms = {"bce": binary_cross_entropy(joint_real, joint_contrastive)}
        if self.r1:
            terms["r1"] = self.r1 * gradient_penalty(joint_real, real)
        scores: dict[str, float | Tensor] = {
            "f_real": joint_real.detach().mean(),
            "f_contrastive": joint_contrastive.detach().mean(),
        }
        return Loss(terms, scores, per_image={"real": joint_real, "contrastive": joint_contrastive})


@settings
class Generative(Method):
    """AT-JEM's first stage, then BCE alone.

    `robust: null` trains from random weights.
    """

    robust: Robust | None
    generate: Generate
    sampler: Walk
