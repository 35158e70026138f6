"""What a search tries, and how it judges a trial: ranges of fields, drawn values, and an objective of scores."""

from collections.abc import Mapping
from dataclasses import field, fields
from math import log10
from typing import Any

from harness.core.dataset import Dataset
from harness.core.errors import UserError, near
from harness.core.random import derive
from harness.core.settings import Seed, flatten, settings
from harness.evaluation import evaluator
from harness.evaluation.score import Score
from harness.runs.config import Config, Part

Value = bool | int | float | str
"""What a trial can set a field to."""

Bounds = tuple[int | float, int | float]
"""The ends of a range."""

MOST = 1000
"""The most trials of a search."""

SMALLEST = 1e-12
"""Scores that are no percentages count as at least this, as a logarithm needs."""


@settings
class Range:
    """The values of a field, of which one of these is given.

    log, uniform: log-uniform or uniform between two bounds; whole bounds give whole numbers. times: log-uniform
    multiples of the recipe's own value. choice: one of several; a single one may be an interpolation, which ties the
    field to another.
    """

    log: Bounds | None = None
    uniform: Bounds | None = None
    times: Bounds | None = None
    choice: tuple[Value, ...] | None = None

    def __post_init__(self) -> None:
        if sum(getattr(self, part.name) is not None for part in fields(self)) != 1:
            raise ValueError("one of log, uniform, times and choice must give the range")
        bounds = self.log or self.uniform or self.times
        if self.choice == () or (bounds and not bounds[0] < bounds[1]):
            raise ValueError("a choice must name a value, and the second bound must be above the first")
        if bounds and not self.uniform and bounds[0] <= 0:
            raise ValueError(f"bounds must be above 0, not {bounds[0]}")

    def draw(self, u: float, own: Any = None) -> Value:  # noqa: ANN401 - whatever the field has
        """The value at u in [0, 1), where `own` is the recipe's; floats are rounded to three significant digits."""
        if self.choice is not None:
            return self.choice[int(u * len(self.choice))]
        if self.times:
            factor = self.times[0] * (self.times[1] / self.times[0]) ** u
            return max(1, round(factor * own)) if isinstance(own, int) else float(f"{factor * own:.3g}")
        # A whole number has the unit interval above it.
        low, high = self.log or self.uniform or (0, 0)
        whole = isinstance(low, int) and isinstance(high, int)
        end = high + 1 if whole else high
        value = low * (end / low) ** u if self.log else low + u * (end - low)
        return int(value) if whole else float(f"{value:.3g}")


@settings
class Search:
    """A search: a file in configs/search.

    fields: the range of each field, by its key in a run's config. objective: the weight of each entry of the protocol,
    of which the first score counts: a percentage as it is, another number by its decimal logarithm, and with a minus
    where lower is better. trials, budget: how many, and the part of a whole training that each takes. seed: of the
    drawn values; that of the trainings is the run's.
    """

    fields: dict[str, Range]
    objective: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "robustness": 1.0, "fidelity": 10.0})
    trials: int = 4
    budget: float = 0.1
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("there is no field to search: name one, or leave one open in the command")
        if not 1 <= self.trials <= MOST:
            raise ValueError(f"trials must be 1 or more, and at most {MOST:,}, not {self.trials}")

    def values(self, trial: int, config: Config) -> dict[str, Value]:
        """The values of a trial, each by the seed, the field and the trial alone; none for the first, trial 0.

        config: that of the recipe; UserError if it lacks a field. The draws are independent: a sampler that learns from
        earlier trials draws its first ten at random as well, and would make trials wait for each other.
        """
        own = dict(flatten(config.mapping()))
        if lacking := [key for key in self.fields if key not in own]:
            raise UserError(
                f"The config has no single value {', '.join(lacking)}: leave it out of the search, or name another. "
                f"python -m harness method={config.method['name']} data={config.data['name']} --cfg job prints all."
            )
        if trial == 0:
            return {}
        values: dict[str, Value] = {}
        for key, range in self.fields.items():
            if range.times and not (isinstance(own.get(key), int | float) and own[key] > 0):
                raise UserError(f"{key} is {own.get(key)} in the recipe, of which there are no multiples: search log.")
            values[key] = range.draw(derive("search", self.seed, key, trial) / 2**63, own.get(key))
        return values

    def objective_of(self, scores: Mapping[str, Score], keys: Mapping[str, str]) -> float:
        """The objective of a trial, higher is better; `keys` says which score each entry of the protocol gives."""
        points = 0.0
        for name, weight in self.objective.items():
            score = scores[keys[name]]
            value = score.value if score.unit == "%" else log10(max(score.value, SMALLEST))
            points += weight * (value if score.better == "higher" else -value)
        return points

    def keys(self, protocol: Part, data: Dataset) -> dict[str, str]:
        """The score of each entry in the objective; UserError if the protocol lacks one, or judges test images."""
        metrics = evaluator.metrics(protocol)
        for name in self.objective:
            if name not in metrics:
                raise UserError(
                    f"The objective counts {name}, which protocol={protocol['id']} lacks. {near(name, metrics)}"
                )
        if "test" in splits(protocol):
            raise UserError(
                f"protocol={protocol['id']} judges test images, and a search chooses by others: leave out protocol=…, "
                "or name one of validation images alone."
            )
        return {name: metrics[name].keys(data)[0] for name in self.objective}


def splits(protocol: Part) -> list[str]:
    """The splits that a protocol judges by, sorted; samples are compared with training images."""
    chosen = evaluator.selection(protocol)
    found = {chosen.against} if chosen else set[str]()
    for metric in evaluator.metrics(protocol).values():
        found.add(getattr(metric, "split", "train"))
    return sorted(found)
