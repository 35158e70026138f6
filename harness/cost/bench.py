"""The stages of a run, measured from initial weights."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from harness.core.errors import UserError, near
from harness.core.optim import Training as How
from harness.cost.memory import peak
from harness.cost.rounds import OURS, Cost, cost
from harness.cost.standin import of_data, of_outliers
from harness.runs import pace
from harness.runs.build import initial, materials
from harness.runs.run import Run, Training, fingerprint
from harness.training.loop import Loop

GROWN = 4
"""Batches are doubled until their memory is so many times that of two images; of less the weights are a large part."""

SPARED = 0.9
"""The share of the free memory that a batch may fill: what is freed in pieces cannot all be had."""


def of_stages(run: Run, device: torch.device, rounds: int, stage: str | None) -> Iterator[Cost]:
    """What a step of each stage of a run costs, or of the one that is named; UserError where it has none such."""
    for training in _wanted(run, stage):
        yield of_stage(run, training, device, rounds)


def fits(run: Run, device: torch.device, stage: str | None) -> Iterator[tuple[str, int]]:
    """The largest batch of each stage, or of the one that is named."""
    for training in _wanted(run, stage):
        yield training.name, largest_batch(run, training, device)


def _wanted(run: Run, stage: str | None) -> list[Training]:
    if found := [training for training in run.trainings if stage in (None, training.name)]:
        return found
    known = near(str(stage), [training.name for training in run.trainings])
    raise UserError(f"There is no stage '{stage}' in method={run.config.method['name']}. {known}")


def of_stage(run: Run, training: Training, device: torch.device, rounds: int) -> Cost:
    """What a step of a stage of the run costs, on its own data where these are here; `plan` knows it from then on."""
    with _loop(run, training, device) as loop:
        standin = loop.materials.data is not run.data
        found = cost(training.name, loop, rounds, pace.name(device), standin)
        found.sections["checkpoint"] = _stall(loop) * _share(found, run.config.checkpoint_seconds)
    key = pace.of_stage(run, training)
    folder = run.root / "bench" / fingerprint([key, found.device])
    seconds = median(found.seconds[OURS]) + (0 if standin else found.sections["data"])
    pace.note(folder, key, device, 1, seconds_per_step=seconds, steps=rounds, upper=True)
    return found


def _stall(loop: Loop) -> float:
    """The seconds that training stands still for a checkpoint; it is written beside the work, which goes on."""
    with loop.writer:
        loop.save(0)  # the first time is another
        started = time.perf_counter()
        loop.begin_saving(1)
        return time.perf_counter() - started


def _share(found: Cost, every: float) -> float:
    """How many checkpoints there are for each step, where one is due after so many seconds."""
    step = median(found.seconds[OURS])
    return step / max(step, every)


def largest_batch(run: Run, training: Training, device: torch.device) -> int:
    """The labelled images that a step of a stage has memory for, with accumulate=1, by how small batches grow."""
    tried: list[tuple[int, int]] = []
    batch = 2
    while not tried or tried[-1][1] < GROWN * tried[0][1]:
        with _loop(run, training, device, batch) as loop:
            tried.append((batch, _needed(loop)))
        batch *= 2
    (less, low), (more, high) = tried[-2:]
    each = (high - low) / (more - less)
    return int((SPARED * _free(device) - low) / each) + less


def _needed(loop: Loop) -> int:
    """The bytes that a step takes where it costs most."""
    loop.state = loop.stage.late(loop.state)
    step, images = next(loop.remaining())
    loop.step(step, images)  # the first also makes the optimiser's buffers, which stay
    return peak(lambda: loop.step(step, images), loop.materials.device)


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


@contextmanager
def _loop(run: Run, training: Training, device: torch.device, batch: int | None = None) -> Iterator[Loop]:
    """The stage's loop, with another batch if it is given."""
    stage: Any = training.stage
    data = of_data(run.data)
    inputs = materials(run, training.name, stage, device)
    inputs = replace(inputs, data=data, outliers=inputs.outliers and of_outliers(inputs.outliers, data))
    if batch is not None:
        stage, inputs = replace(stage, training=_smaller(stage.training, batch)), replace(inputs, accumulate=1)
    with tempfile.TemporaryDirectory() as folder:
        yield Loop(stage, initial(run).to(device), inputs, Path(folder))


def _smaller(how: How, batch: int) -> How:
    """Training with another batch, real images in proportion."""
    real = how.real_batch and max(1, how.real_batch * batch // how.batch)
    return replace(how, batch=batch, real_batch=real)
