"""What a search tries, and how it judges a trial: ranges of fields, drawn values, rungs, and an objective of scores."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from math import log10
from typing import TYPE_CHECKING, Any, Literal

from harness.core.dataset import Dataset
from harness.core.errors import UserError, near
from harness.core.random import derive
from harness.core.settings import Seed, flatten, settings
from harness.evaluation import evaluator
from harness.evaluation.randomised import NAMED
from harness.evaluation.score import Score
from harness.runs.config import Config, Part

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

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

    def distribution(self, own: Any) -> "BaseDistribution":  # noqa: ANN401 - whatever the field has
        """Optuna's distribution of the same values, where `own` is the recipe's."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choice is not None:
            return CategoricalDistribution(self.choice)
        if self.times:
            low, high = self.times[0] * own, self.times[1] * own
            if isinstance(own, int):
                return IntDistribution(max(1, round(low)), max(1, round(high)), log=True)
        else:
            low, high = self.log or self.uniform or (0, 0)
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=self.log is not None)
        return FloatDistribution(low, high, log=self.uniform is None)


@dataclass
class Trial:
    """What to run: the budget, and the values of the fields; number 0 has the recipe's own, so that it sets none.

    objective: higher is better; None until the run is over, and if it gave no scores.
    """

    number: int
    budget: float
    values: dict[str, Value]
    objective: float | None = None


@settings
class Search:
    """A search: a file in configs/search.

    fields: the range of each field, by its key in a run's config. objective: the weight of each entry of the protocol,
    of which the first score counts: a percentage as it is, another number by its decimal logarithm, and with a minus
    where lower is better. trials, budget: how many, and the part of a whole training that each takes. seed: of the
    drawn values; that of the trainings is the run's.

    sampler: random draws each value independently; tpe is Optuna's, which learns from earlier trials. batch: how many
    trials tpe draws before it learns from them; null: as many as the launcher runs at a time. rungs: increasing budgets
    in place of the one; after each, the part `keep` of the trials, the best ones, is run at the next.
    """

    fields: dict[str, Range]
    objective: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "robustness": 1.0, "fidelity": 10.0})
    trials: int = 4
    budget: float = 0.1
    seed: Seed = 0
    sampler: Literal["random", "tpe"] = "random"
    batch: int | None = None
    rungs: tuple[float, ...] = ()
    keep: float = 0.5

    def __post_init__(self) -> None:
        if not self.fields:
            raise ValueError("there is no field to search: name one, or do not set all of them in the command")
        if not 1 <= self.trials <= MOST:
            raise ValueError(f"trials must be 1 or more, and at most {MOST:,}, not {self.trials}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be 1 or more, not {self.batch}")
        if list(self.rungs) != sorted(set(self.rungs)) or not all(0 < budget <= 100 for budget in self.rungs):
            raise ValueError(f"rungs must be budgets above 0 that increase, such as [0.05,0.1], not {[*self.rungs]}")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep must be between 0 and 1, such as 0.5 for the better half, not {self.keep:g}")

    @property
    def budgets(self) -> tuple[float, ...]:
        """The budget of each rung; without rungs, the one."""
        return self.rungs or (self.budget,)

    def rounds(self, config: Config) -> Iterator[list[Trial]]:
        """Yield lists of trials to run, whose objectives the caller sets before it asks for the next list.

        config: that of the recipe; UserError if it lacks a field, or Optuna is needed and missing. Equal objectives
        give equal trials, so that an interrupted search continues by the records of the trials that are over.
        """
        # All trials run at the first budget.
        rung: list[Trial] = []
        for trials in self._learn(config) if self.sampler == "tpe" else [self._draw(config)]:
            yield trials
            rung += trials
        # Successive halving: the best ones run again, at the next budget.
        for budget in self.budgets[1:]:
            ranks = {trial.number: -trial.objective for trial in rung if trial.objective is not None}
            best = sorted(ranks, key=ranks.__getitem__)[: max(1, int(self.keep * len(rung) + 1e-9))]
            rung = [Trial(trial.number, budget, trial.values) for trial in rung if trial.number in best]
            if rung:
                yield rung

    def _draw(self, config: Config) -> list[Trial]:
        """All trials, their values drawn independently."""
        return [Trial(number, self.budgets[0], self.values(number, config)) for number in range(self.trials)]

    def _learn(self, config: Config) -> Iterator[list[Trial]]:
        """Yield the trials in batches, their values drawn by Optuna's TPE from the objectives of earlier batches."""
        try:
            import optuna
        except ModuleNotFoundError:
            raise UserError(
                "sampler=tpe needs the package optuna: pip install optuna, or say sampler=random."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        states, create = optuna.trial.TrialState, optuna.trial.create_trial
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=self.seed))
        # A field with a single choice has nothing to learn.
        own = self._own(config)
        ties = {key: span.choice[0] for key, span in self.fields.items() if span.choice and len(span.choice) == 1}
        ranges = {key: span.distribution(own[key]) for key, span in self.fields.items() if key not in ties}
        for first in range(0, self.trials, self.batch or 1):
            # Ask for the values of a batch; trial 0 has the recipe's own.
            numbers = range(first, min(first + (self.batch or 1), self.trials))
            asked = {number: study.ask(ranges) for number in numbers if number > 0}
            values = {number: self._rounded(trial.params) | ties for number, trial in asked.items()}
            trials = [Trial(number, self.budgets[0], values.get(number, {})) for number in numbers]
            yield trials
            # Tell the objectives; a trial without one counts as worse than all that have one.
            for trial in trials:
                state = states.PRUNED if trial.objective is None else states.COMPLETE
                if trial.number in asked:
                    study.tell(asked[trial.number], trial.objective, state)
                    continue
                kept = {key: own[key] for key in ranges}
                with suppress(ValueError):  # the recipe's own values lie outside of the ranges
                    study.add_trial(create(state=state, value=trial.objective, params=kept, distributions=ranges))

    def _rounded(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values of ranges, floats rounded to three significant digits; choices are left as they are."""
        return {
            key: float(f"{value:.3g}") if isinstance(value, float) and not self.fields[key].choice else value
            for key, value in values.items()
        }

    def values(self, trial: int, config: Config) -> dict[str, Value]:
        """The values of a trial, each by the seed, the field and the trial alone; none for the first, trial 0.

        config: that of the recipe; UserError if it lacks a field.
        """
        own = self._own(config)
        if trial == 0:
            return {}
        return {
            key: range.draw(derive("search", self.seed, key, trial) / 2**63, own[key])
            for key, range in self.fields.items()
        }

    def _own(self, config: Config) -> dict[str, Any]:
        """The recipe's own values by key; UserError if one is missing, or has no multiples where these are searched."""
        own = dict(flatten(config.mapping()))
        if lacking := [key for key in self.fields if key not in own]:
            raise UserError(
                f"The config has no single value {', '.join(lacking)}: leave it out of the search, or name another "
                f"key. To see all: python -m harness method={config.method['name']} data={config.data['name']} "
                "--cfg job"
            )
        for key, range in self.fields.items():
            if range.times and not (isinstance(own[key], int | float) and own[key] > 0):
                raise UserError(f"{key} is {own[key]} in the recipe, which cannot be multiplied: use log, not times.")
        return own

    def objective_of(self, scores: Mapping[str, Score], keys: Mapping[str, str]) -> float:
        """The objective of a trial, higher is better; `keys` says which score each entry of the protocol gives."""
        points = 0.0
        for name, weight in self.objective.items():
            key = keys[name]
            score = scores[key if key in scores else f"{key}{NAMED}"]  # the latter of a net that draws random numbers
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
                f"protocol={protocol['id']} uses test images, by which a search must not choose: leave out "
                "protocol=…, or name one that uses only validation images."
            )
        return {name: metrics[name].keys(data)[0] for name in self.objective}


def splits(protocol: Part) -> list[str]:
    """The splits that a protocol judges by, sorted; samples are compared with training images."""
    chosen = evaluator.selection(protocol)
    found = {chosen.against} if chosen else set[str]()
    for metric in evaluator.metrics(protocol).values():
        found.add(getattr(metric, "split", "train"))
    return sorted(found)
