"""WEAT: TRADES in which each image counts by its energy (Mirza et al., ECCV 2024, arXiv 2407.06315).

Left out: the paper's sampler, which starts at principal components of a class and walks with momentum. That the weight
covers both terms of the loss is taken from a summary of the paper.
"""

from typing import Literal

from torch.nn.functional import softplus

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, State
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, marginal_score
from harness.methods.trades import Tradeoff, divergence_from


@settings
class Weighted(Tradeoff):
    """TRADES with a weight for each image, which is largest where the energy is near zero.

        L = 1/B Σ_j w_j · [ CE( f(u_j), y_j ) + β · KL( p(·|x_j) ‖ p(·|x'_j) ) ],    w_j = 1 / log(1 + exp|E(x_j)|)

    x' are attacked as in TRADES. No gradient flows through w. classify: the images u of the cross-entropy are the clean
    ones, x (the paper's WEAT_NAT), or the attacked ones, x' (WEAT_ADV).
    """

    classify: Literal["clean", "attacked"] = "clean"

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Cross-entropy plus the divergence, both weighted."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        attacked = self.attacked(model, x, shard)
        logits, logits_attacked = model(x), model(attacked)
        weight = 1 / softplus(marginal_score(logits).detach().abs())
        judged = logits if self.classify == "clean" else logits_attacked
        terms = {
            "ce": (weight * cross_entropy(y)(judged)).mean(),
            "kl": self.beta * (weight * divergence_from(logits)(logits_attacked)).mean(),
        }
        accuracy, robust = ((f.detach().argmax(1) == y).float().mean() for f in (logits, logits_attacked))
        return Loss(terms, {"accuracy": accuracy, "robust_accuracy": robust, "weight": weight.mean()})


@settings
class WEAT(Method):
    """One stage of training; samples come from the generative walk, as for the other robust classifiers."""

    weighted: Weighted
    sampler: Walk
