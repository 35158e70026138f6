"""RATIO: robust on the data, robustly uncertain on outliers (Augustin, Meinke & Hein 2020, arXiv 2003.09461)."""

from typing import ClassVar

import torch

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, confidence, cross_entropy, walk


@settings
class InOut(Stage):
    """Adversarial training on the data, and low confidence under attack on outliers.

        L = ½ · 1/B Σ_j CE( f(x'_j), y_j ) + ½ λ · 1/B Σ_j KL( U ‖ p(·|o'_j) )
        x'_j = argmax CE( f(x), y_j ) over the ball around x_j,   o'_j = argmax KL( U ‖ p(·|o) ) over that around o_j

    The attacks run in evaluation mode. Both kinds of image are learned from in one batch, so that normalisation cannot
    separate data from outliers by their statistics. λ is `outliers`.
    """

    attack: Walk
    outlier_attack: Walk
    training: Training
    outliers: Factor = 1.0
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "outliers")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Half the adversarial cross-entropy plus half the weighted confidence on attacked outliers."""
        x, o, y = batch.images["labelled"], batch.images["outliers"], batch.labels["labelled"]
        attacked = walk(model, x, cross_entropy(y), self.attack)
        attacked_outliers = walk(model, o, confidence, self.outlier_attack)
        logits_attacked, logits_outliers = model(torch.cat([attacked, attacked_outliers])).split([len(x), len(o)])
        terms = {
            "ce": cross_entropy(y)(logits_attacked).mean() / 2,
            "outliers": self.outliers * confidence(logits_outliers).mean() / 2,
        }
        robust = (logits_attacked.detach().argmax(1) == y).float().mean()
        mean_confidence = logits_outliers.detach().softmax(1).amax(1).mean()
        return Loss(terms, {"robust_accuracy": robust, "confidence_on_outliers": mean_confidence})


@settings
class RATIO(Method):
    """One stage of training; samples come from the generative walk, as DAT samples its baseline."""

    inout: InOut
    sampler: Walk
