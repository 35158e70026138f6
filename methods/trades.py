"""TRADES: robustness as agreement between clean and attacked predictions (Zhang et al. 2019, arXiv 1901.08573)."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Objective, Walk, cross_entropy, frozen, walk


def divergence_from(clean: Tensor) -> Objective:
    """KL( p(·|x) ‖ p(·|x') ) per image, of the logits f(x), given here, and f(x')."""
    p = log_softmax(clean, 1)
    return lambda logits: kl_div(log_softmax(logits, 1), p, reduction="none", log_target=True).sum(1)


@settings
class Tradeoff(Stage):
    """Cross-entropy on clean images, and the divergence of the predictions nearby from those on them.

        L = 1/B Σ_j [ CE( f(x_j), y_j ) + β · KL( p(·|x_j) ‖ p(·|x'_j) ) ]
        x'_j = argmax KL( p(·|x_j) ‖ p(·|x) ) over the ball around x_j

    The attack begins at x + `noise` · N(0, I), for at x itself the divergence has no gradient, and sees the network
    in evaluation mode. The gradient of L flows through both arguments of the divergence. f(x_j) is computed once for
    both terms: the released code does so twice, which differs only in one more update of the running statistics.
    """

    attack: Walk
    training: Training
    beta: float = 6.0
    noise: float = 0.001
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Cross-entropy plus the weighted divergence."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        attacked = self.attacked(model, x, shard)
        logits, of_attacked = model(x), model(attacked)
        terms = {
            "ce": cross_entropy(y)(logits).mean(),
            "kl": self.beta * divergence_from(logits)(of_attacked).mean(),
        }
        right, robust = ((f.detach().argmax(1) == y).float().mean() for f in (logits, of_attacked))
        return Loss(terms, {"accuracy": right, "robust_accuracy": robust})

    def attacked(self, model: EnergyModel, x: Tensor, shard: Shard) -> Tensor:
        """Images in the ball around x whose predictions diverge most from those on x."""
        with frozen(model):
            clean = model(x)
        return walk(model, x + self.noise * shard.normal(x), divergence_from(clean), self.attack, centre=x)


@settings
class TRADES(Method):
    """One stage; sampled by the generative walk, as the other robust classifiers are."""

    tradeoff: Tradeoff
    sampler: Walk
