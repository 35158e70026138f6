"""The pace of a stage that no earlier run tells: a few steps of it, of which nothing is left."""

import time
from collections.abc import Sequence
from statistics import median

import torch

from harness.core.errors import Diverged
from harness.cost.price import Price
from harness.runs import pace
from harness.runs.build import initial, prepare, stage_inputs
from harness.runs.pace import Pace
from harness.runs.run import Run, StageRun
from harness.training.step import Step

STEPS = 5
"""That are timed, after one that is not: the first also loads and compiles."""


def probe(prices: Sequence[Price]) -> None:
    """Measure each kind of stage whose pace is unknown, on the device that is here, and add it to the known ones."""
    for price in prices:
        for training in price.run.stage_runs:
            if price.stages[training.fingerprint] is None and price.pace(training) is None:
                key = pace.stage_key(price.run, training)
                price.paces.known.setdefault(key, []).append(measure(price.run, training))


def measure(run: Run, training: StageRun) -> Pace:
    """The usual time of a step from initial weights, at most that where the stage can be brought to its late steps."""
    device = prepare(run.config)
    step = Step(training.stage, initial(run).to(device), stage_inputs(run, training.name, training.stage, device))
    begun, step.state = step.state, training.stage.at_full_length(step.state)
    return Pace(median(_times(step, device)), pace.name(device), upper=step.state is not begun)


def _times(step: Step, device: torch.device) -> list[float]:
    times: list[float] = []
    batches = step.batches()
    for _ in range(STEPS + 1):
        started = time.monotonic()
        try:
            step(*next(batches))
        except (StopIteration, Diverged):  # it has no further steps, or untrained weights took it too far
            break
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - started)
    return times[1:] or times or [0.0]
