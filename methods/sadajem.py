"""SADA-JEM: JEM++ trained towards flat minima, energy on unaugmented images (Yang, Su & Ji, arXiv 2209.07959)."""

from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, State, Stream
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, marginal_score
from harness.methods.jempp import Continued, Persistent


@settings
class Energy(Persistent):
    """JEM++'s loss at the nearby weights where it is highest, instead of at the current weights.

        min_θ max_ε L(θ + ε) over ‖ ε / |θ| ‖₂ ≤ ρ,    ρ = training.sharpness (adaptive)
        L = −( mean s(x) − mean s(x̂) ) + CE( f(x_lab), y_lab ),    x̂ ~ proximal SGLD on E(x) = −s(x) at θ

    Only x_lab is augmented; no image carries noise. The same x, x̂ and x_lab are used at θ and at θ + ε.
    """

    px: Factor = 1.0
    ce: Factor = 1.0
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "real")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The difference of mean scores plus cross-entropy."""
        # Draw the chains once, at θ: both passes of a sharpness-aware step share them.
        x, labelled, y = batch.images["real"], batch.images["labelled"], batch.labels["labelled"]
        s_real = marginal_score(model(x))
        chains = self.chains.draw(model, state, len(x), shard)

        def compute_loss(s_real: Tensor) -> Loss:
            s_chains, logits = marginal_score(model(chains)), model(labelled)
            terms = {
                "px": self.px * (s_chains.mean() - s_real.mean()),
                "ce": self.ce * cross_entropy(y)(logits).mean(),
            }
            accuracy = (logits.detach().argmax(1) == y).float().mean()
            scores = {"s_real": s_real.detach().mean(), "s_chains": s_chains.detach().mean()}
            return Loss(terms, {**scores, "accuracy": accuracy})

        return replace(compute_loss(s_real), recompute=lambda: compute_loss(marginal_score(model(x))).terms)


@settings
class SADAJEM(Continued):
    """One stage of training; samples continue the chains of its replay buffer."""

    energy: Energy
    sampler: Walk
