"""Measure the pace of stages that no earlier run has recorded, by a few steps whose results are thrown away."""

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

import torch

from harness.core.errors import Diverged
from harness.cost.price import Price
from harness.runs import pace
from harness.runs.build import initial, prepare, stage_inputs, untrained
from harness.runs.pace import Pace
from harness.runs.run import UNKNOWN, Run, StageRun
from harness.runs.standin import stand_in_outliers
from harness.training.step import Step

STEPS = 5
"""Steps that are timed, after one that is not: the first step also loads and compiles."""


def probe(prices: Sequence[Price]) -> None:
    """Measure each kind of stage whose pace is unknown, on the local device, and add it to the known paces."""
    for price in prices:
        for stage_run in price.run.stage_runs:
            if price.stages[stage_run.fingerprint] is None and price.pace(stage_run) is None:
                key = pace.stage_key(price.run, stage_run)
                price.paces.known.setdefault(key, []).append(measure(price.run, stage_run))


def measure(run: Run, stage_run: StageRun) -> Pace:
    """Return the median time of a step from initial weights; an upper bound if the stage has a longer late phase."""
    device = prepare(run.config)
    inputs = stage_inputs(run, stage_run.name, stage_run.stage, device)
    # Files that are not here are replaced: a step takes as long.
    inputs = replace(inputs, outliers=inputs.outliers and stand_in_outliers(inputs.outliers, inputs.data))
    model = untrained(run) if run.init == UNKNOWN else initial(run)
    step = Step(stage_run.stage, model.to(device), inputs)
    begun, step.state = step.state, stage_run.stage.at_full_length(step.state)
    return Pace(median(_times(step, device)), pace.name(device), upper=step.state is not begun)


def _times(step: Step, device: torch.device) -> list[float]:
    times: list[float] = []
    batches = step.batches()
    for _ in range(STEPS + 1):
        started = time.monotonic()
        try:
            step(*next(batches))
        except (StopIteration, Diverged):  # no further steps, or the untrained weights diverged
            break
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic() - started)
    return times[1:] or times or [0.0]
