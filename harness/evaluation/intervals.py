"""95 % intervals of the figures that a record holds, and outcomes: a string of 1 for right and 0 for wrong."""

from collections.abc import Callable
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its modules are slow, and it imports each when it is first used: a plan uses none

from harness.evaluation.score import Score

if TYPE_CHECKING:  # so that reports, which have only the strings, need no torch
    from torch import Tensor

LEVEL = 0.95
"""Of every interval here."""

BESIDE = 1e-12
"""The bounds of an area's interval are looked for this far beside it or further; no two areas are so near."""


def wilson(right: int, n: int) -> tuple[float, float]:
    """Of a share of right ones among n (Wilson 1927)."""
    interval = scipy.stats.binomtest(right, n).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Of an area under the ROC curve (Newcombe 2006, method 5): all θ with |AUC − θ| ≤ z · sd(θ).

    sd(θ)² = θ(1 − θ) [1 + (N − 1)((1 − θ)/(2 − θ) + θ/(1 + θ))] / (m n), N = (m + n) / 2, after Hanley and McNeil.
    It has a width at an area of 0 or 1 too; there θ = AUC is a second solution, which the brackets leave out. Of
    normal scores it is wider than it need be where the area is above 0.95.
    """
    half = (positives + negatives) / 2 - 1
    z = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))

    def excess(theta: float, side: int) -> float:
        spread = theta * (1 - theta) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return side * (theta - auc) - z * sqrt(spread / (positives * negatives))

    low = scipy.optimize.root_scalar(excess, args=(-1,), bracket=(0, auc - BESIDE)).root if auc > BESIDE else 0.0
    high = scipy.optimize.root_scalar(excess, args=(1,), bracket=(auc + BESIDE, 1)).root if auc < 1 - BESIDE else 1.0
    return float(low), float(high)


def mean_interval(mean: float, sd: float, n: int) -> tuple[float, float]:
    """Of the mean of n independent values, of which mean and standard deviation (by n) are given, by Student's t."""
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, n - 1)) * sd / sqrt(n - 1)
    return mean - half, mean + half


def jackknife(n: int, statistic: Callable[[np.ndarray], float], value: float, groups: int = 10) -> tuple[float, float]:
    """Of a statistic of n items, whose value on all of them is given, by leaving out one of the groups at a time.

    `statistic` is given the indices that are left. A group is a run of neighbours: samples go round the classes, so
    every tenth of them would be a class. The interval is of the scatter that other items would bring, not of a bias
    that any n of them have.
    """
    everyone = np.arange(n)
    without = np.array([statistic(everyone[everyone * groups // n != group]) for group in range(groups)])
    half = sqrt((groups - 1) * float(np.mean((without - without.mean()) ** 2)))
    quantile = float(scipy.stats.t.ppf((1 + LEVEL) / 2, groups - 1))
    return value - quantile * half, value + quantile * half


def share(title: str, outcomes: str, warnings: list[str] | None = None) -> Score:
    """A share of right outcomes in %, with its 95 % Wilson interval."""
    right, n = outcomes.count("1"), len(outcomes)
    low, high = (100 * bound for bound in wilson(right, n))
    value = 100 * right / n
    return Score(title=title, value=value, low=low, high=high, n=n, unit="%", better="higher", warnings=warnings or [])


def bits(right: "Tensor") -> str:
    """A boolean tensor, N, as a string of 1 and 0."""
    return "".join("1" if one else "0" for one in right.tolist())
