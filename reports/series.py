"""Runs that belong together: of one experiment, repeated with other seeds."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import isnan, nan
from statistics import fmean, stdev
from typing import Any

from harness.record import Score

Row = dict[str, Any]
"""A run, with the columns of tracking.results."""

JUDGED = ("data", "protocol", "protocol_hash")
"""Only runs that agree in these are compared."""


@dataclass(frozen=True)
class Series:
    """Runs that differ in their seeds alone, in the order of these."""

    runs: list[Row]

    @property
    def label(self) -> str:
        """The method, and what was changed from its recipe."""
        return label(self.runs[0])

    @cached_property
    def done(self) -> list[Row]:
        """The runs whose numbers count."""
        return [run for run in self.runs if run["state"] == "done"]

    def scores(self, key: str) -> list[Score]:
        """One score of all seeds that have it."""
        return [run["scores"][key] for run in self.done if key in run["scores"]]

    def mean(self, key: str) -> float:
        """The mean over seeds; NaN where there is none."""
        return fmean(score.value for score in self.scores(key)) if self.scores(key) else nan

    def sd(self, key: str) -> float:
        """The sample standard deviation over seeds; NaN where there is one or none."""
        return stdev(score.value for score in self.scores(key)) if len(self.scores(key)) > 1 else nan

    @property
    def seeds(self) -> str:
        """How many are done, of how many, and what became of the others."""
        states = [run["state"] for run in self.runs]
        others = [f", {states.count(state)} {state}" for state in dict.fromkeys(states) if state != "done"]
        return f"{len(self.done)}/{len(states)}" + "".join(others)

    @property
    def time(self) -> str:
        """The mean training time."""
        seconds = [run["training_seconds"] for run in self.done if not isnan(run["training_seconds"])]
        return _duration(fmean(seconds)) if seconds else "–"

    @property
    def state(self) -> str:
        """All states of its runs."""
        return ", ".join(dict.fromkeys(run["state"] for run in self.runs))

    def footnotes(self) -> Iterator[str]:
        """Warnings, reasons, selections and notes of its runs."""
        for run in self.runs:
            for score in run["scores"].values() if run["state"] == "done" else ():
                yield from (f"- † {self.label}, {score.title}: {warning}" for warning in score.warnings)
            if run["reason"]:
                yield f"- {self.label}, seed {run['seed']}: {run['state']}, {run['reason']}"
            yield from origin(run)


def label(run: Row) -> str:
    """The method of a run, and what was changed from its recipe."""
    method, overrides = run["method"], run["overrides"]
    return f"{method} ({overrides})" if overrides else method


def origin(run: Row) -> Iterator[str]:
    """What was chosen for a run, and how; what deviates from the published setting."""
    yield from (f"- {label(run)}, {what}: chosen by {how}" for what, how in run["selection"].items())
    yield from (f"- {label(run)}, {what}: {note}" for what, note in run["notes"].items())


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
