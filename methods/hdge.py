"""HDGE: a classifier and a contrastive approximation of JEM's p(x|y) (Liu & Abbeel 2020, arXiv 2007.09070)."""

from typing import ClassVar

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy
from harness.methods.replay import LARGEST_BUFFER


@settings
class Contrast(Stage):
    """Cross-entropy over classes, and over images: which image, of many, is the one of this class?

        L = 1/B Σ_j [ CE( f(x_j), y_j ) − w · log q(x_j|y_j) ]
        q(x_j|y) = exp( f_y(x_j)/τ ) / ( exp( f_y(x_j)/τ ) + Σ_{k∈Q} exp( f_y(x_k)/τ ) )

    In place of the integral over all images in p(x|y) = exp f_y(x) / ∫ exp f_y(x') dx' stands a sum over the queue Q of
    the last `queue` images, whose logits carry no gradient. w is `contrast`, τ `temperature`. Images carry Gaussian
    noise of standard deviation `sigma`, as JEM's do.
    """

    training: Training
    queue: int
    temperature: float = 1.0
    contrast: Factor = 1.0
    sigma: Factor = 0.0
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def __post_init__(self) -> None:
        least = self.training.batch
        if not least <= self.queue <= LARGEST_BUFFER:
            raise ValueError(f"queue must be between a batch of {least} and {LARGEST_BUFFER:,}, not {self.queue}")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """An empty queue of logits, and the number of images in it."""
        logits = torch.zeros(self.queue, len(data.classes), device=rng.device)
        return {"queue": logits, "filled": torch.tensor(0)}

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Both cross-entropies."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        logits = model(x + self.sigma * shard.normal(x) if self.sigma else x)
        own = logits.gather(1, y[:, None])
        others = state["queue"][: int(state["filled"])].to(logits)[:, y].T
        among = torch.cat([own, others], 1) / self.temperature
        terms = {
            "ce": cross_entropy(y)(logits).mean(),
            "contrast": self.contrast * (among.logsumexp(1) - among[:, 0]).mean(),
        }
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        return Loss(terms, {"accuracy": accuracy}, per_image={"logits": logits})

    def update_state(self, state: State, per_image: dict[str, Tensor]) -> dict[str, float]:
        """Put the logits of the whole batch at the head of the queue; the oldest fall out at its end."""
        queue = state["queue"]
        queue.copy_(torch.cat([per_image["logits"].to(queue), queue])[: len(queue)])
        state["filled"].add_(len(per_image["logits"])).clamp_(max=len(queue))
        return {}


@settings
class HDGE(Method):
    """One stage of training; samples come from the generative walk, as for all classifiers."""

    hybrid: Contrast
    sampler: Walk
