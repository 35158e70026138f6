"""TRADES: robustness as agreement of clean and attacked predictions (Zhang et al. 2019, arXiv 1901.08573)."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Objective, Walk, cross_entropy, frozen, walk


def divergence_from(clean: Tensor) -> Objective:
    """KL( p(·|x) ‖ p(·|x') ) per image, where `clean` is f(x) and the objective's argument is f(x')."""
    p = log_softmax(clean, 1)
    return lambda logits: kl_div(log_softmax(logits, 1), p, reduction="none", log_target=True).sum(1)


@settings
class Tradeoff(Stage):
    """Cross-entropy on clean images, plus the divergence of predictions on attacked images from those on clean ones.

        L = 1/B Σ_j [ CE( f(x_j), y_j ) + β · KL( p(·|x_j) ‖ p(·|x'_j) ) ]
        x'_j = argmax KL( p(·|x_j) ‖ p(·|x) ) over the ball around x_j

    The attack starts at x + `noise` · N(0, I), because the divergence has no gradient at x itself; it sees the network
    in evaluation mode. The gradient of L flows through both arguments of the divergence. f(x_j) is computed once for
    both terms; the released code computes it twice, which only adds one update of the running statistics.
    """

    attack: Walk
    training: Training
    beta: Factor = 6.0
    noise: Factor = 0.001
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Cross-entropy plus the weighted divergence."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        attacked = self.attacked(model, x, shard)
        logits, logits_attacked = model(x), model(attacked)
        terms = {
            "ce": cross_entropy(y)(logits).mean(),
            "kl": self.beta * divergence_from(logits)(logits_attacked).mean(),
        }
        accuracy, robust = ((f.detach().argmax(1) == y).float().mean() for f in (logits, logits_attacked))
        return Loss(terms, {"accuracy": accuracy, "robust_accuracy": robust})

    def attacked(self, model: EnergyModel, x: Tensor, shard: Shard) -> Tensor:
        """Images in the ball around x whose predictions diverge most from those on x."""
        with frozen(model):
            clean = model(x)
        return walk(model, x + self.noise * shard.normal(x), divergence_from(clean), self.attack, centre=x)


@settings
class TRADES(Method):
    """One stage of training; samples come from the generative walk, as for the other robust classifiers."""

    tradeoff: Tradeoff
    sampler: Walk
