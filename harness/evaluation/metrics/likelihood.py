"""Proper scores of the predicted probabilities: log-likelihood, Brier score, and what one temperature would correct."""

from collections.abc import Mapping
from math import exp, log
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from harness.core.dataset import Dataset, Split
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.intervals import mean_interval
from harness.evaluation.metric import Metric, Result, Subject, require_images
from harness.evaluation.metrics.calibration import expected_calibration_error
from harness.evaluation.parts import Part
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

BOUNDS = (-5.0, 5.0)
"""Bounds of the logarithm of the temperature."""

TABLE = "At the best temperature"
"""The table in which all but NLL and Brier score stand."""


@settings
class Likelihood(Metric):
    """NLL and Brier score, as they are and at the temperature that fits best (Guo et al. 2017).

        NLL = −1/n Σ_i log p_{y_i}(x_i),    Brier = 1/n Σ_i Σ_k ( p_k(x_i) − [k = y_i] )²,    p = softmax( f / T )

    T minimises the NLL on the split `fit`, which the judged split must not be. bins: of the ECE at that temperature.
    """

    split: Split
    fit: Split
    bins: int
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if self.split == self.fit:
            raise ValueError(f"fit must be another split than {self.split}, on which the result is judged")
        if self.bins < 1:
            raise ValueError(f"bins must be 1 or more, not {self.bins}")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that both splits have images."""
        require_images(data, self.split, f"split={self.split}", 2)
        require_images(data, self.fit, f"fit={self.fit}", 2)

    def keys(self, data: Dataset) -> list[str]:
        """NLL and Brier score, and with the fitted temperature NLL, ECE, and how far it is from 1: |log T|."""
        return ["nll", "brier", "nll_scaled", "ece_scaled", "temperature"]

    def shards(self, subject: Subject) -> int:
        """1: the logits are those that all metrics share."""
        return 1

    def score(self, subject: Subject, shard: int) -> Part:
        """The temperature, and for each image its losses and what the scaled ECE needs."""
        temperature = best_temperature(*subject.logits(self.fit))
        logits, labels = subject.logits(self.split)
        scaled = logits.double() / temperature
        confidence, predicted = scaled.softmax(1).max(1)
        return {
            "temperature": temperature,
            "nll": log_loss(logits.double(), labels).numpy(),
            "brier": brier(logits.double(), labels).numpy(),
            "nll_scaled": log_loss(scaled, labels).numpy(),
            "confidence": confidence.numpy(),
            "right": (predicted == labels).numpy(),
        }

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The means, with their intervals over images."""
        (part,) = parts
        n = len(part["right"])
        error, fitted = (
            100 * expected_calibration_error(part["confidence"], part["right"], self.bins),
            part["temperature"],
        )
        return Result(
            {
                "nll": _mean("NLL", part["nll"]),
                "brier": _mean("Brier score", part["brier"]),
                "nll_scaled": _mean("NLL", part["nll_scaled"], TABLE),
                "ece_scaled": Score(title="ECE", value=error, n=n, unit="%", better="lower", table=TABLE),
                "temperature": Score(
                    title="|log temperature|", value=abs(log(fitted)), n=n, better="lower", table=TABLE
                ),
            }
        )


def log_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """−log p_y of each image, N."""
    return cross_entropy(logits, labels, reduction="none")


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """The squared distance, N, of the probabilities from the label as a unit vector: between 0 and 2."""
    return (logits.softmax(1) - one_hot(labels, logits.shape[1])).square().sum(1)


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that minimises the mean NLL of softmax( f / T )."""
    double = logits.double()
    found = minimize_scalar(lambda t: float(cross_entropy(double / exp(t), labels)), bounds=BOUNDS, method="bounded")
    return exp(float(found.x))


def _mean(title: str, values: np.ndarray, table: str = "") -> Score:
    value, n = float(values.mean()), len(values)
    low, high = mean_interval(value, float(values.std()), n)
    return Score(title=title, value=value, low=max(0.0, low), high=high, n=n, better="lower", table=table)
