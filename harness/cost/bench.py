"""Measure the stages of a run, from initial weights."""

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
from harness.runs import pace
from harness.runs.build import initial, stage_inputs
from harness.runs.run import Run, StageRun, fingerprint
from harness.runs.standin import stand_in_data, stand_in_outliers
from harness.training.checkpoint import Checkpoints
from harness.training.step import Step

GROWN = 4
"""The batch doubles until it takes this many times the memory of two images; before that, weights dominate."""

SPARED = 0.9
"""Share of the free memory that a batch may fill: fragmented memory cannot be used completely."""


def measure_stages(run: Run, device: torch.device, rounds: int, stage: str | None) -> Iterator[Timing]:
    """Yield the cost of a step of each stage of a run, or of the named stage; UserError if there is no such stage."""
    for stage_run in _chosen_stages(run, stage):
        yield measure_stage(run, stage_run, device, rounds)


def fits(run: Run, device: torch.device, stage: str | None) -> Iterator[tuple[str, int]]:
    """Yield the name and the largest batch of each stage, or of the named stage."""
    for stage_run in _chosen_stages(run, stage):
        yield stage_run.name, largest_batch(run, stage_run, device)


def _chosen_stages(run: Run, stage: str | None) -> list[StageRun]:
    if stages := [stage_run for stage_run in run.stage_runs if stage in (None, stage_run.name)]:
        return stages
    if not run.stage_runs:
        raise UserError(f"method={run.config.method['name']} trains nothing: choose of=sampling or of=attacks.")
    hint = near(str(stage), [stage_run.name for stage_run in run.stage_runs])
    raise UserError(f"There is no stage '{stage}' in method={run.config.method['name']}. {hint}")


def measure_stage(run: Run, stage_run: StageRun, device: torch.device, rounds: int) -> Timing:
    """Measure a step of a stage, on its own data if their files are here; `plan` uses the result from then on."""
    step = _step(run, stage_run, device)
    standin = step.inputs.data is not run.data
    timing = cost(stage_run.name, step, rounds, pace.name(device), standin)
    timing.sections["checkpoint"] = _stall(step) * _share(timing, run.config.checkpoint_seconds)
    key = pace.stage_key(run, stage_run)
    folder = run.root / "bench" / fingerprint([key, timing.device])
    seconds = median(timing.seconds[OURS]) + (0 if standin else timing.sections["data"])
    pace.note(folder, key, device, 1, seconds_per_step=seconds, steps=rounds, upper=True)
    return timing


def _stall(step: Step) -> float:
    """Seconds that training waits when a checkpoint begins; it is written in the background."""
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        checkpoints.begin(0, step.content())
        checkpoints.wait()  # the first one takes longer
        started = time.perf_counter()
        checkpoints.begin(1, step.content())
        return time.perf_counter() - started


def _share(found: Timing, every: float) -> float:
    """Checkpoints per step, if one is due every `every` seconds."""
    step = median(found.seconds[OURS])
    return step / max(step, every)


def largest_batch(run: Run, stage_run: StageRun, device: torch.device) -> int:
    """Extrapolate from small batches how many labelled images fit in memory in one step, with accumulate=1."""
    measured: list[tuple[int, int]] = []
    batch = 2
    while not measured or measured[-1][1] < GROWN * measured[0][1]:
        measured.append((batch, _step_bytes(_step(run, stage_run, device, batch))))
        batch *= 2
    (small, small_bytes), (large, large_bytes) = measured[-2:]
    per_image = (large_bytes - small_bytes) / (large - small)
    return int((SPARED * _free(device) - small_bytes) / per_image) + small


def _step_bytes(step: Step) -> int:
    """Peak memory, in bytes, of a step at full length, where it costs most."""
    step.state = step.stage.at_full_length(step.state)
    number, batch = next(step.batches())
    step(number, batch)  # the first step also allocates the optimiser's buffers, which stay
    return peak(lambda: step(number, batch), step.inputs.device)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def _step(run: Run, stage_run: StageRun, device: torch.device, batch: int | None = None) -> Step:
    """Build the step of a stage, with another batch size if one is given."""
    stage: Any = stage_run.stage
    data = stand_in_data(run.data)
    inputs = stage_inputs(run, stage_run.name, stage, device)
    inputs = replace(inputs, data=data, outliers=inputs.outliers and stand_in_outliers(inputs.outliers, data))
    if batch is not None:
        stage, inputs = replace(stage, training=_smaller(stage.training, batch)), replace(inputs, accumulate=1)
    return Step(stage, initial(run).to(device), inputs)


def _smaller(how: How, batch: int) -> How:
    """Return the training settings with another batch size, and real images in proportion."""
    real = how.real_batch and max(1, how.real_batch * batch // how.batch)
    return replace(how, batch=batch, real_batch=real)
