"""Label smoothing (Szegedy et al. 2016, arXiv 1512.00567)."""

from typing import ClassVar

from ebm_stripes import targets
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Walk


@settings
class Smooth(Stage):
    """A classifier with softened targets.

    L = −1/B Σ_i Σ_k q_ik log p(k | x_i),    q_i = (1 − mass) onehot(y_i) + mass / K
    """

    mass: float
    training: Training
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Cross-entropy with the softened targets."""
        logits = model(batch.images["labelled"])
        q = targets.smoothed(batch.labels["labelled"], logits.shape[1], self.mass)
        return Loss({"ce": -(q * logits.log_softmax(1)).sum(1).mean()})


@settings
class Smoothed(Method):
    """One stage; sampled by the default, ascent on the joint logit from outlier images."""

    smooth: Smooth
    sampler: Walk
