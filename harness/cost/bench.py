"""The stages of a run, measured from initial weights."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from harness.core.errors import UserError, near
from harness.core.optim import Training as How
from harness.cost.memory import peak
from harness.cost.rounds import OURS, Timing, cost
from harness.cost.standin import stand_in_data, stand_in_outliers
from harness.runs import pace
from harness.runs.build import initial, stage_inputs
from harness.runs.run import Run, StageRun, fingerprint
from harness.training.checkpoint import Checkpoints
from harness.training.step import Step

GROWN = 4
"""Batches are doubled until their memory is so many times that of two images; of less the weights are a large part."""

SPARED = 0.9
"""The share of the free memory that a batch may fill: what is freed in pieces cannot all be had."""


def measure_stages(run: Run, device: torch.device, rounds: int, stage: str | None) -> Iterator[Timing]:
    """What a step of each stage of a run costs, or of the one that is named; UserError where it has none such."""
    for training in _chosen_stages(run, stage):
        yield measure_stage(run, training, device, rounds)


def fits(run: Run, device: torch.device, stage: str | None) -> Iterator[tuple[str, int]]:
    """The largest batch of each stage, or of the one that is named."""
    for training in _chosen_stages(run, stage):
        yield training.name, largest_batch(run, training, device)


def _chosen_stages(run: Run, stage: str | None) -> list[StageRun]:
    if found := [training for training in run.stage_runs if stage in (None, training.name)]:
        return found
    known = near(str(stage), [training.name for training in run.stage_runs])
    raise UserError(f"There is no stage '{stage}' in method={run.config.method['name']}. {known}")


def measure_stage(run: Run, training: StageRun, device: torch.device, rounds: int) -> Timing:
    """What a step of a stage of the run costs, on its own data where these are here; `plan` knows it from then on."""
    step = _step(run, training, device)
    standin = step.inputs.data is not run.data
    found = cost(training.name, step, rounds, pace.name(device), standin)
    found.sections["checkpoint"] = _stall(step) * _share(found, run.config.checkpoint_seconds)
    key = pace.stage_key(run, training)
    folder = run.root / "bench" / fingerprint([key, found.device])
    seconds = median(found.seconds[OURS]) + (0 if standin else found.sections["data"])
    pace.note(folder, key, device, 1, seconds_per_step=seconds, steps=rounds, upper=True)
    return found


def _stall(step: Step) -> float:
    """The seconds that training stands still for a checkpoint; it is written beside the work, which goes on."""
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        checkpoints.begin(0, step.content())
        checkpoints.wait()  # the first time takes longer
        started = time.perf_counter()
        checkpoints.begin(1, step.content())
        return time.perf_counter() - started


def _share(found: Timing, every: float) -> float:
    """How many checkpoints there are for each step, where one is due after so many seconds."""
    step = median(found.seconds[OURS])
    return step / max(step, every)


def largest_batch(run: Run, training: StageRun, device: torch.device) -> int:
    """The labelled images that a step of a stage has memory for, with accumulate=1, by how small batches grow."""
    tried: list[tuple[int, int]] = []
    batch = 2
    while not tried or tried[-1][1] < GROWN * tried[0][1]:
        tried.append((batch, _step_bytes(_step(run, training, device, batch))))
        batch *= 2
    (less, low), (more, high) = tried[-2:]
    each = (high - low) / (more - less)
    return int((SPARED * _free(device) - low) / each) + less


def _step_bytes(step: Step) -> int:
    """The bytes that a step takes where it costs most."""
    step.state = step.stage.at_full_length(step.state)
    number, batch = next(step.batches())
    step(number, batch)  # the first also makes the optimiser's buffers, which stay
    return peak(lambda: step(number, batch), step.inputs.device)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def _step(run: Run, training: StageRun, device: torch.device, batch: int | None = None) -> Step:
    """The stage's step, with another batch size if it is given."""
    stage: Any = training.stage
    data = stand_in_data(run.data)
    inputs = stage_inputs(run, training.name, stage, device)
    inputs = replace(inputs, data=data, outliers=inputs.outliers and stand_in_outliers(inputs.outliers, data))
    if batch is not None:
        stage, inputs = replace(stage, training=_smaller(stage.training, batch)), replace(inputs, accumulate=1)
    return Step(stage, initial(run).to(device), inputs)


def _smaller(how: How, batch: int) -> How:
    """Training with another batch, real images in proportion."""
    real = how.real_batch and max(1, how.real_batch * batch // how.batch)
    return replace(how, batch=batch, real_batch=real)
