"""95 % intervals of a record's figures, and outcome strings: 1 for right, 0 for wrong."""

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its modules are slow to import, and it loads each on first use: a plan uses none

from harness.evaluation.score import Score

if TYPE_CHECKING:  # reports, which only use the strings, do not need torch
    from torch import Tensor

LEVEL = 0.95
"""The level of every interval here."""

BESIDE = 1e-12
"""Minimum distance of the bounds from the AUC itself; no two areas are this close."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """Wilson score interval of a proportion (Wilson 1927)."""
    interval = scipy.stats.binomtest(right, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Interval of an area under the ROC curve (Newcombe 2006, method 5): all θ with |AUC − θ| ≤ z · sd(θ).

    sd(θ)² = θ(1 − θ) [1 + (N − 1)((1 − θ)/(2 − θ) + θ/(1 + θ))] / (m n), N = (m + n) / 2, after Hanley and McNeil.
    It has a positive width even at an area of 0 or 1; there θ = AUC is a second solution, which the brackets exclude.
    For normal scores it is wider than necessary if the area is above 0.95.
    """
    half = (positives + negatives) / 2 - 1
    z = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))

    def excess(theta: float, side: int) -> float:
        spread = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return side * (theta - auc) - z * sqrt(spread / (positives * negatives))

    # Solve for both bounds; an area at 0 or 1 is its own bound.
    low = scipy.optimize.root_scalar(excess, args=(-1,), bracket=(0, auc - BESIDE)).root if auc > BESIDE else 0.0
    high = scipy.optimize.root_scalar(excess, args=(1,), bracket=(auc + BESIDE, 1)).root if auc < 1 - BESIDE else 1.0
    return float(low), float(high)


def mean_interval(mean: float, sd: float, n: int) -> tuple[float, float]:
    """Student's t interval of the mean of n independent values, from their mean and standard deviation (divisor n)."""
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / sqrt(n - 1)
    return mean - half, mean + half


def jackknife(n: int, statistic: Callable[[np.ndarray], float], value: float, groups: int = 10) -> tuple[float, float]:
    """Jackknife interval of a statistic of n items, leaving out one group at a time; `value` is that of all items.

    `statistic` receives the indices that remain. A group is a run of neighbours: samples cycle through the classes, so
    every tenth sample could be one class. The interval covers the scatter that other items would cause, not the bias
    that any n items have.
    """
    indices = np.arange(n)
    estimates = np.array([statistic(indices[indices * groups // n != group]) for group in range(groups)])
    half = sqrt((groups - 1) * float(np.mean((estimates - estimates.mean()) ** 2)))
    quantile = float(scipy.stats.t.ppf((1 + LEVEL) / 2, groups - 1))
    return value - quantile * half, value + quantile * half


def share(title: str, outcomes: str, warnings: list[str] | None = None) -> Score:
    """The share of right outcomes in %, with its 95 % Wilson interval."""
    right, n = outcomes.count("1"), len(outcomes)
    low, high = (100 * bound for bound in wilson(right, n))
    value = 100 * right / n
    return Score(title=title, value=value, low=low, high=high, n=n, unit="%", better="higher", warnings=warnings or [])


def bits(right: "Tensor") -> str:
    """Convert a boolean tensor, N, to a string of 1 and 0."""
    return "".join("1" if flag else "0" for flag in right.tolist())
