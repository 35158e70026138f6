"""What the training of a run took: FLOP, and the time to a validation accuracy, from its record and files beside it.

Both follow from what runs have always kept, so that runs of older versions have them too.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.core.cache import kept
from harness.core.reading import log_lines, parse_log
from harness.runs.config import thawed
from harness.runs.record import Cost, StageCost

if TYPE_CHECKING:
    from harness.runs.run import Run

ACCURACY = "validation_accuracy"

TARGETS = (50, 75, 90, 95, 99)
"""The validation accuracies, in %, to which times are reported."""

EVERY = 10
"""Of a log's lines without an accuracy, every tenth is read: their means hardly differ, and reports are made faster."""

LARGEST = 1_000_000
"""FLOP are unknown where a whole number in the config of the method or net is larger: counting would take too long."""


class Reached(NamedTuple):
    """A validation accuracy in %, after so many steps and seconds of training, over all stages."""

    accuracy: float
    steps: int
    seconds: float


@dataclass(frozen=True)
class Spent:
    """FLOP of a training, None if unknown, and its validation accuracies in the order in which they were measured."""

    flop: float | None = None
    accuracies: list[Reached] = field(default_factory=list)

    def until(self, target: float) -> Reached | None:
        """The first measurement that reached an accuracy in %; None if there is none."""
        return next((found for found in self.accuracies if found.accuracy >= target), None)


def spent(cost: Cost, points: list[dict[str, float]], read_config: Callable[[], Any]) -> Spent:
    """What the training of a run took, given its cost, the points of its log, and what reads its frozen config."""
    flop = cost.training_flop
    if flop is None:  # of a version that did not count them
        logged = {stage.name: [stage.steps, _means(stage.name, points)] for stage in cost.stages}
        config = read_config()
        flop = kept("flop", [config, logged], lambda: _counted(cost, points, config))
    return Spent(flop, list(_accuracies(cost.stages, points)))


def _counted(cost: Cost, points: list[dict[str, float]], config: Any) -> float | None:  # noqa: ANN401 - any yaml
    from harness.runs.run import Run

    return flop_of(lambda: Run(thawed(config)), cost.stages, points)


def flop_of(run: Callable[[], "Run"], stages: list[StageCost], points: list[dict[str, float]]) -> float | None:
    """FLOP of all steps of a run's stages, given its log; None if they cannot be counted, which fails no run."""
    try:
        return _flop(run(), stages, points)
    except Exception:  # of a method that is not installed, or that takes no stand-in for its data, and many more
        return None


def parse_points(content: bytes) -> list[dict[str, float]]:
    """The points of a log that `spent` needs; ValueError if it is damaged."""
    lines = log_lines(content)
    return parse_log([line for at, line in enumerate(lines) if at % EVERY == 0 or ACCURACY.encode() in line])


def _flop(run: "Run", stages: list[StageCost], points: list[dict[str, float]]) -> float:
    """FLOP of all steps of the stages; any error if they cannot be counted."""
    from harness.runs.passes import flop_of_step  # imports torch, which listing runs does not need

    if not _small(run.config.method) or not _small(run.config.model):
        raise ValueError(f"its config has numbers above {LARGEST:,}")
    return sum(stage.steps * flop_of_step(run, stage.name, _means(stage.name, points)) for stage in stages)


def _small(part: Any) -> bool:  # noqa: ANN401 - any piece of a config
    """Whether no whole number in a piece of config is too large, at any depth."""
    parts = part.values() if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else ()
    return all(map(_small, parts)) and not (isinstance(part, int) and abs(part) > LARGEST)


def _means(stage: str, points: list[dict[str, float]]) -> dict[str, float]:
    """The means of all that a stage logged, by name."""
    names = {name for point in points for name in point if name.startswith(f"{stage}/")}
    return {name.partition("/")[2]: fmean(point[name] for point in points if name in point) for name in names}


def _accuracies(stages: list[StageCost], points: list[dict[str, float]]) -> Iterator[Reached]:
    """The logged accuracies. Logs say after how many images: within a stage, each step takes the same time."""
    images = steps = seconds = 0.0
    for stage in stages:
        for point in points:
            if (accuracy := point.get(f"{stage.name}/{ACCURACY}")) is not None and stage.images:
                share = min(max((point["images"] - images) / stage.images, 0), 1)
                yield Reached(100 * accuracy, round(steps + share * stage.steps), seconds + share * stage.seconds)
        images, steps, seconds = images + stage.images, steps + stage.steps, seconds + stage.seconds
