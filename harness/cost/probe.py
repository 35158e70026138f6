"""The pace of a stage that no earlier run tells: a few steps of it, of which nothing is left."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from harness.core.errors import Diverged
from harness.cost.price import Price
from harness.runs import pace
from harness.runs.build import initial, materials, prepare
from harness.runs.pace import Pace
from harness.runs.run import Run, Training
from harness.training.loop import Loop

STEPS = 5
"""That are timed, after one that is not: the first also loads and compiles."""


def probe(prices: Sequence[Price]) -> None:
    """Measure each kind of stage whose pace is unknown, on the device that is here, and add it to the known ones."""
    for price in prices:
        for training in price.run.trainings:
            if price.stages[training.fingerprint] is None and price.pace(training) is None:
                key = pace.of_stage(price.run, training)
                price.paces.known.setdefault(key, []).append(measured(price.run, training))


def measured(run: Run, training: Training) -> Pace:
    """The usual time of a step from initial weights, at most that where the stage can be brought to its late steps."""
    device = prepare(run.config)
    inputs = materials(run, training.name, training.stage, device)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(training.stage, initial(run).to(device), inputs, Path(folder))
        begun, loop.state = loop.state, training.stage.late(loop.state)
        return Pace(median(_times(loop, device)), pace.name(device), upper=loop.state is not begun)


def _times(loop: Loop, device: torch.device) -> list[float]:
    times: list[float] = []
    steps = loop.remaining()
    for _ in range(STEPS + 1):
        started = time.monotonic()
        try:
            loop.step(*next(steps))
        except (StopIteration, Diverged):  # it has no further steps, or untrained weights took it too far
            break
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - started)
    return times[1:] or times or [0.0]
