"""MART: adversarial training that looks at misclassified images more closely (Wang et al., ICLR 2020)."""

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import one_hot

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, walk
from harness.methods.trades import divergence_from

SMALLEST = 1e-6
"""The least 1 − p in the logarithm of the margin, so that its gradient is bounded."""


def boosted_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """−log p_y − log( 1 − max_{k≠y} p_k ) per image: cross-entropy, and a margin to the most likely wrong class."""
    wrong = logits.softmax(1).masked_fill(one_hot(y, logits.shape[1]).bool(), 0).amax(1)
    return cross_entropy(y)(logits) - (1 - wrong).clamp_min(SMALLEST).log()


@settings
class Aware(Stage):
    """Adversarial training, and agreement of predictions where clean images are classified wrongly.

        L = 1/B Σ_j [ BCE( p(·|x'_j), y_j ) + λ · KL( p(·|x_j) ‖ p(·|x'_j) ) · (1 − p_{y_j}(x_j)) ]
        BCE(p, y) = −log p_y − log( 1 − max_{k≠y} p_k ),    x'_j = argmax CE( f(x), y_j ) over the ball around x_j

    The paper's section 3. The attack starts at x + `noise` · N(0, I) and sees the network in evaluation mode. The
    gradient of L flows through both predictions, and through 1 − p. λ is `agreement`.
    """

    attack: Walk
    training: Training
    agreement: Factor = 5.0
    noise: Factor = 0.001
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Boosted cross-entropy on attacked images plus the weighted divergence."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        attacked = walk(model, x + self.noise * shard.normal(x), cross_entropy(y), self.attack, centre=x)
        logits, logits_attacked = model(x), model(attacked)
        missing = 1 - logits.softmax(1).gather(1, y[:, None])[:, 0]
        terms = {
            "bce": boosted_cross_entropy(logits_attacked, y).mean(),
            "kl": self.agreement * (divergence_from(logits)(logits_attacked) * missing).mean(),
        }
        accuracy, robust = ((f.detach().argmax(1) == y).float().mean() for f in (logits, logits_attacked))
        return Loss(terms, {"accuracy": accuracy, "robust_accuracy": robust})


@settings
class MART(Method):
    """One stage of training; samples come from the generative walk, as for the other robust classifiers."""

    aware: Aware
    sampler: Walk
