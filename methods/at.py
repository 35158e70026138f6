"""AT: adversarial training of a classifier (Madry et al. 2018), in the form that DAT starts from."""

from typing import ClassVar

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, walk


@settings
class Robust(Stage):
    """A robust classifier: cross-entropy on adversarial images only, without a clean term.

        L = 1/B Σ_j CE( f(x'_j), y_j ),    x'_j = argmax CE( f(x), y_j ) over the ball around x_j

    The attack runs in evaluation mode, the training pass in training mode.
    """

    attack: Walk
    training: Training
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Adversarial cross-entropy."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        logits = model(walk(model, x, cross_entropy(y), self.attack))
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        return Loss({"ce": cross_entropy(y)(logits).mean()}, {"robust_accuracy": accuracy})


@settings
class AT(Method):
    """One stage of adversarial training; samples come from the generative walk, as DAT samples its baseline."""

    robust: Robust
    sampler: Walk
