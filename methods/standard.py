"""Standard training of a classifier: the baseline that shows what robustness costs in clean accuracy."""

from typing import ClassVar

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy


@settings
class Classify(Stage):
    """A classifier: cross-entropy on clean images.

        L = 1/B Σ_j CE( f(x_j), y_j )

    f: the logits. x, y: clean images, augmented, and their labels.
    """

    training: Training
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Cross-entropy."""
        y = batch.labels["labelled"]
        logits = model(batch.images["labelled"])
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        return Loss({"ce": cross_entropy(y)(logits).mean()}, {"accuracy": accuracy})


@settings
class Standard(Method):
    """One stage of standard training; samples come from the generative walk, as for the robust classifiers."""

    classify: Classify
    sampler: Walk
