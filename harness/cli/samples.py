"""Samples of a trained model: for people, and for the evaluators of others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from harness.cli.arguments import Sample
from harness.cli.tables import console
from harness.core.files import replacing
from harness.evaluation.pictures import Cell, short, table
from harness.evaluation.samples import eight_bits, save_grid
from harness.runs.trained import Trained

MOMENTS = 6
"""Of a walk that are shown, its start and its end among them."""

WALKS = 5
"""Samples whose walks are shown."""


def write(model: Trained, asked: Sample, folder: Path) -> list[str]:
    """Write samples.png, trajectory.png and samples.npz; what to tell of it.

    The .npz has the layout of guided diffusion's evaluator: arr_0, N x H x W x 3 uint8, and the classes, arr_1.
    """
    names = model.run.data.classes
    classes = [model.label(word) for word in asked.classes] or list(range(len(names)))
    images = _drawn(model, asked, classes)
    walked = trajectory(model, min(asked.n, WALKS), classes, asked.seed, asked.steps)
    grid, strip, arrays = (folder / name for name in ("samples.png", "trajectory.png", "samples.npz"))
    save_grid(images, len(classes), grid)
    table(strip, _rows(walked, [short(names[label]) for label in classes]))
    with replacing(arrays) as temporary:
        colour = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        np.savez(temporary, arr_0=colour.numpy(), arr_1=np.resize(np.array(classes, np.int64), asked.n))
    return [f"Written: {path}" for path in (grid, strip, arrays)]


def trajectory(model: Trained, n: int, classes: Sequence[int], seed: int, steps: int | None) -> dict[int, Tensor]:
    """The first n samples after growing numbers of steps: a walk of fewer is the beginning of the whole one."""
    whole = model.sampler(steps).sampler.steps
    moments = sorted({round(whole * part / (MOMENTS - 1)) for part in range(MOMENTS)})
    return {moment: model.sample(n, classes, seed, moment) for moment in moments}


def _drawn(model: Trained, asked: Sample, classes: list[int]) -> Tensor:
    """The samples in 8 bits, with a bar on a terminal."""
    chunks = model.samples(asked.n, classes, asked.seed, asked.steps)
    count = -(-asked.n // model.chunk)
    shown = track(chunks, "samples", count, console=console, transient=True, disable=not console.is_terminal)
    return torch.cat([eight_bits(images) for images in shown])


def _rows(walked: dict[int, Tensor], names: list[str]) -> list[list[Cell]]:
    """A row for each sample, a column for each moment of its walk."""
    rows: list[list[Cell]] = []
    for i, images in enumerate(zip(*walked.values(), strict=True)):
        captions = [f"{moment} steps" if moment else f"{names[i % len(names)]}: start" for moment in walked]
        rows.append([Cell(image, caption) for image, caption in zip(images, captions, strict=True)])
    return rows
