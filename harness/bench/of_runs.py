"""The stages of a run, measured from initial weights."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch

from harness import pace
from harness.bench.memory import peak
from harness.bench.standin import of_data, of_outliers
from harness.bench.steps import OURS, Cost, cost
from harness.build import initial, outliers
from harness.optimise import Training as How
from harness.runs import Run, Training, fingerprint
from harness.streams import Materials
from harness.train import Loop

TRIED = (2, 4)
"""Batches whose memory tells how it grows."""

SPARED = 0.9
"""The share of the free memory that a batch may fill: what is freed in pieces cannot all be had."""


def of_stage(run: Run, training: Training, device: torch.device, rounds: int) -> Cost:
    """What a step of a stage of the run costs, on its own data where these are here; `plan` knows it from then on."""
    with _loop(run, training, device) as loop:
        standin = loop.materials.data is not run.data
        found = cost(training.name, loop, rounds, pace.name(device), standin)
    key = pace.of_stage(run, training)
    folder = run.root / "bench" / fingerprint([key, found.device])
    seconds = median(found.seconds[OURS]) + (0 if standin else found.sections["data"])
    pace.note(folder, key, device, 1, seconds_per_step=seconds, steps=rounds, upper=True)
    return found


def largest_batch(run: Run, training: Training, device: torch.device) -> int:
    """The labelled images that a step of a stage has memory for, with accumulate=1, by how two small batches grow."""
    needed: list[int] = []
    free = 0
    for batch in TRIED:
        with _loop(run, training, device, batch) as loop:
            loop.state = loop.stage.late(loop.state)
            step, images = next(loop.remaining())
            loop.step(step, images)  # the first also makes the optimiser's buffers, which stay
            needed.append(peak(lambda loop=loop, step=step, images=images: loop.step(step, images), device))
            free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    each = (needed[1] - needed[0]) / (TRIED[1] - TRIED[0])
    return int((SPARED * free - (needed[0] - TRIED[0] * each)) / each)


@contextmanager
def _loop(run: Run, training: Training, device: torch.device, batch: int | None = None) -> Iterator[Loop]:
    """The stage's loop, with another batch if it is given."""
    stage: Any = training.stage
    data = of_data(run.data)
    source = of_outliers(outliers(run), data) if "outliers" in stage.needs else None
    key, config = (run.config["seed"], training.name), run.config
    how: dict[str, Any] = {"accumulate": config["accumulate"], "compile": config["compile"]}
    if batch is not None:
        stage, how["accumulate"] = replace(stage, training=_smaller(stage.training, batch)), 1
    materials = Materials(data, source, key, device, config["workers"], **how)
    with tempfile.TemporaryDirectory() as folder:
        yield Loop(stage, initial(run).to(device), materials, Path(folder))


def _smaller(how: How, batch: int) -> How:
    """Training with another batch, real images in proportion."""
    real = how.real_batch and max(1, how.real_batch * batch // how.batch)
    return replace(how, batch=batch, real_batch=real)
