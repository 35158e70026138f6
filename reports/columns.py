"""The columns of the leaderboard's tables, which turn a series into a cell."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from math import isnan
from statistics import fmean

from harness.evaluation.score import Score
from harness.reports.series import Series
from harness.reports.tables import DOUBT, Cell
from harness.runs.record import Cost, SamplingCost
from harness.runs.row import Row
from harness.runs.spent import TARGETS, Reached

NONE, NOT_GIVEN = Cell("–"), Cell("n/a")
"""No value; and a value that there cannot be, as the method gives no logits or no samples."""


@dataclass(frozen=True)
class Column:
    """A header, and a function from a series to its cell."""

    header: str
    cell: Callable[[Series], Cell]


@dataclass(frozen=True)
class Measured:
    """One score of all series of a table; `score` is any of them, for title, unit and direction.

    bold: keys of the series that are not significantly worse than the best; of none if they are not ranked.
    """

    key: str
    score: Score
    series: list[Series]
    bold: Collection[str] = ()

    @property
    def header(self) -> str:
        """Title, direction and unit."""
        arrow = "↑" if self.score.better == "higher" else "↓"
        return " ".join(filter(None, [self.score.title, arrow, self.score.unit]))

    @cached_property
    def means(self) -> list[float]:
        """The means of the series that have one."""
        return [mean for series in self.series if not isnan(mean := series.mean(self.key))]

    @cached_property
    def digits(self) -> int:
        """Number of decimals: 1 for %, else enough for about three significant digits of the largest mean."""
        largest = max(map(abs, self.means))
        return 1 if self.score.unit == "%" or largest >= 100 else 2 if largest >= 1 else 3

    @cached_property
    def count(self) -> str:
        """The number of images or samples, or several numbers joined by "or"."""
        counts = sorted({score.n for series in self.series for score in series.scores(self.key)})
        return " or ".join(map(str, counts))

    def cell(self, series: Series) -> Cell:
        """Return the mean over seeds with their standard deviation, or the value of a single seed with its interval."""
        scores, digits = series.scores(self.key), self.digits
        if not scores:
            return NOT_GIVEN if self.key in series.not_given else NONE
        value = series.mean(self.key)
        text = f"{value:.{digits}f}"
        if len(scores) > 1:
            text += f" ± {series.sd(self.key):.{digits}f}"
        elif bounds := self.interval(series):
            text += f" {bounds}"
        return Cell(text, value, series.key in self.bold, DOUBT if any(score.warnings for score in scores) else "")

    def interval(self, series: Series) -> str:
        """Return the mean bounds of the seeds' own intervals, as they are shown; empty if there are none."""
        lows = [score.low for score in series.scores(self.key) if score.low is not None]
        highs = [score.high for score in series.scores(self.key) if score.high is not None]
        return f"[{fmean(lows):.{self.digits}f}, {fmean(highs):.{self.digits}f}]" if lows and highs else ""


SIZES = {"E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}
"""Units of large counts."""

NET = Column("net", lambda series: Cell(series.runs[0].model or NONE.text))


def costs(series: list[Series]) -> list[Column]:
    """Return the columns of cost for which some run has a value: means over the seeds that are done."""
    target = reached_by_all(series)
    columns = [
        _mean("parameters", lambda run: run.parameters or None, _count),
        _mean("training FLOP", lambda run: run.spent.flop, _count),
        _mean("images seen", images_seen, _count),
        _mean("training, h", training_hours),
        _mean("GPU-hours", lambda run: _device_hours(run, "cuda")),
        _mean("core-hours", lambda run: _device_hours(run, "cpu")),
        _mean("energy of GPUs, kWh", lambda run: run.cost and run.cost.training_kwh),
        _mean("energy of CPUs, kWh", lambda run: run.cost and run.cost.cpu_kwh),
        _mean(f"steps to {target} %", lambda run: _until(run, target, lambda found: found.steps), _count),
        _mean(f"hours to {target} %", lambda run: _until(run, target, lambda found: found.seconds / 3600)),
        _mean("images/s", lambda run: run.cost and _pace(run.cost), lambda pace: f"{pace:.0f}"),
        _mean("samples/s", lambda run: (drawn := _sampling(run)) and drawn.images_per_second),
        _mean("passes/sample", lambda run: (drawn := _sampling(run)) and drawn.passes),
        _mean("GFLOP/sample", lambda run: (drawn := _sampling(run)) and drawn.flop / 1e9),
        _mean("peak memory, GB", lambda run: run.cost and run.cost.peak_memory_mb / 1000),
        _mean("evaluation, min", lambda run: run.cost and run.cost.evaluation_seconds / 60),
        Column("hardware", lambda one: Cell(_hardware(one)) if _hardware(one) else NONE),
    ]
    return [column for column in columns if any(column.cell(one) != NONE for one in series)]


def reached_by_all(series: Iterable[Series]) -> int | None:
    """Return the highest of the target accuracies that all done runs reached which measured any; None if none is."""
    measured = [run.spent for one in series for run in one.done if run.spent.accuracies]
    return max((target for target in TARGETS if measured and all(run.until(target) for run in measured)), default=None)


def training_hours(run: Row) -> float | None:
    """Hours of training, all stages; None if nothing was trained."""
    return run.cost.training_seconds / 3600 if run.cost and run.cost.stages else None


def images_seen(run: Row) -> int | None:
    """Number of labelled images that training has seen, each as often as it was seen; None if nothing was trained."""
    return sum(stage.images for stage in run.cost.stages) if run.cost and run.cost.stages else None


def _until(run: Row, target: int | None, take: Callable[[Reached], float]) -> float | None:
    found = None if target is None else run.spent.until(target)
    return found and take(found)


def _mean(header: str, of: Callable[[Row], float | None], show: Callable[[float], str] = "{:.3g}".format) -> Column:
    """Return a column of means over the seeds that are done and have a value."""

    def cell(series: Series) -> Cell:
        values = [value for run in series.done if (value := of(run)) is not None]
        return Cell(show(fmean(values)), fmean(values)) if values else NONE

    return Column(header, cell)


def _device_hours(run: Row, device: str) -> float | None:
    """Hours of training, times the number of GPUs or cores; None if unknown or on another kind of device."""
    if not (run.cost and run.cost.stages and run.origin and run.origin.device.startswith(device)):
        return None
    per_process = 1 if device == "cuda" else run.origin.threads
    return sum(stage.seconds * stage.processes for stage in run.cost.stages) * per_process / 3600


def _pace(cost: Cost) -> float | None:
    seconds = sum(stage.seconds for stage in cost.stages)
    return sum(stage.images for stage in cost.stages) / seconds if seconds else None


def _sampling(run: Row) -> SamplingCost | None:
    return run.cost.sampling if run.cost else None


def _hardware(series: Series) -> str:
    return ", ".join(dict.fromkeys(run.origin.hardware for run in series.done if run.origin))


def _count(number: float) -> str:
    for unit, size in SIZES.items():
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def in_hours(hours: float) -> str:
    """Format a time in its largest unit."""
    for unit, size in (("h", 1), ("min", 60)):
        if hours * size >= 1:
            return f"{hours * size:.1f} {unit}"
    return f"{hours * 3600:.1f} s"


STATES = [
    _mean("train time", lambda run: run.cost and run.cost.training_seconds / 3600, in_hours),
    Column("seeds", lambda series: Cell(series.seeds, len(series.done))),
    Column("state", lambda series: Cell(series.state)),
]
"""Columns of training time and of the states of the runs."""
