"""Energy OOD: fine-tuning with margins between energies of data and outliers (Liu et al. 2020, arXiv 2010.03759)."""

from typing import ClassVar

import torch

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, marginal_score
from harness.methods.standard import Classify


@settings
class Margins(Stage):
    """Cross-entropy, and energies below a margin on the data and above another on outliers.

        L = 1/B Σ_j CE( f(x_j), y_j ) + λ · [ 1/B Σ_j max(0, E(x_j) − m_in)² + 1/B Σ_j max(0, m_out − E(o_j))² ]

    The paper's section 3.3. Data and outliers are one batch, so that normalisation cannot separate them by their
    statistics. λ is `margins`, m_in `inside` and m_out `outside`; energies of real classifiers are negative.
    """

    training: Training
    inside: float
    outside: float
    margins: Factor = 0.1
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "outliers")

    def __post_init__(self) -> None:
        if not self.inside < self.outside:
            raise ValueError(f"inside must be below outside, not {self.inside} and {self.outside}")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """Cross-entropy plus the weighted hinges."""
        x, o, y = batch.images["labelled"], batch.images["outliers"], batch.labels["labelled"]
        logits, logits_outliers = model(torch.cat([x, o])).split([len(x), len(o)])
        energy, energy_outliers = -marginal_score(logits), -marginal_score(logits_outliers)
        terms = {
            "ce": cross_entropy(y)(logits).mean(),
            "inside": self.margins * (energy - self.inside).relu().square().mean(),
            "outside": self.margins * (self.outside - energy_outliers).relu().square().mean(),
        }
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        energies = {"energy": energy.detach().mean(), "energy_of_outliers": energy_outliers.detach().mean()}
        return Loss(terms, {"accuracy": accuracy, **energies})


@settings
class EnergyOOD(Method):
    """Standard training, which is shared with method=standard, then fine-tuning by margins of energy.

    `classify: null` fine-tunes from random weights. Samples come from the generative walk, as for all classifiers.
    """

    classify: Classify | None
    tune: Margins
    sampler: Walk
