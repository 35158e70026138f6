"""What became of each image, as a string of 1 for right and 0 for wrong, and the share of right ones as a score."""

from typing import TYPE_CHECKING

from harness.evaluation.intervals import wilson
from harness.runs.record import Score

if TYPE_CHECKING:  # so that reports, which have only the strings, need no torch
    from torch import Tensor


def share(title: str, outcomes: str, warnings: list[str] | None = None) -> Score:
    """A share of right outcomes in %, with its 95 % Wilson interval."""
    right, n = outcomes.count("1"), len(outcomes)
    low, high = (100 * bound for bound in wilson(right, n))
    value = 100 * right / n
    return Score(title=title, value=value, low=low, high=high, n=n, unit="%", better="higher", warnings=warnings or [])


def bits(right: "Tensor") -> str:
    """A boolean tensor, N, as a string of 1 and 0."""
    return "".join("1" if one else "0" for one in right.tolist())
