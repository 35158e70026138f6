"""Write samples of a trained run or a checkpoint, as pictures and as an .npz file for other evaluators."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.device import full_precision
from harness.core.errors import CanaryFailed, Diverged, UserError
from harness.core.files import atomic_write
from harness.core.settings import settings
from harness.evaluation.pictures import Cell, short, table
from harness.evaluation.samples import eight_bits, save_grid
from harness.runs.build import in_micro_batches, prepare
from harness.runs.reopen import UNSAID, reopen
from harness.runs.trained import Trained

MOMENTS = 6
"""Points of a walk that are shown, including its start and its end."""

WALKS = 5
"""Number of samples whose walks are shown."""


EXAMPLE = "run=atjem-digits-s0-c1a31312 n=40 classes=3,5"
PARTS = UNSAID


@settings
class Arguments:
    """n: number of samples, of the given classes in turn (default: all). steps: number of the sampler's steps.

    out: the folder for the files.
    """

    run: str
    n: int = 64
    classes: tuple[str, ...] = ()
    seed: int = 0
    steps: int | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or (self.steps is not None and self.steps < 0):
            raise ValueError("n must be 1 or more, and steps 0 or more")


def run(request: Request) -> None:
    """Write the samples."""
    show(request, write)


def show(request: Request, write: Callable[[Trained, Any, Path], list[str]]) -> None:
    """Call `write` with the trained model and the requested folder, and print the lines that it returns."""
    arguments, config = request.arguments, request.config
    model = _model(arguments.run, request.overrides)
    folder = Path(arguments.out) if arguments.out else Path(config.reports) / "pictures" / model.run.name
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise UserError(
            f"{folder} cannot be written: {place} is not a folder, or not writable. Choose another one: out=FOLDER."
        )
    try:
        with full_precision():
            lines = write(model, arguments, folder)
    except (Diverged, CanaryFailed) as error:
        raise UserError(f"{model.run.name} has nothing to show: {error}") from None
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _model(word: str, overrides: Sequence[str]) -> Trained:
    """Return the model of a run or a checkpoint, on the device and in the micro-batches of its config."""
    run = reopen(word, overrides)
    return in_micro_batches(run, Trained(run, prepare(run.config)))


def write(model: Trained, asked: Arguments, folder: Path) -> list[str]:
    """Write samples.png, trajectory.png and samples.npz; return the lines to print.

    The .npz file has the layout of guided diffusion's evaluator: arr_0, N x H x W x 3 uint8, and the classes, arr_1.
    """
    names = model.run.data.classes
    classes = [model.label(word) for word in asked.classes] or list(range(len(names)))
    images = _draw(model, asked, classes)
    walks = trajectory(model, min(asked.n, WALKS), classes, asked.seed, asked.steps)
    grid, strip, arrays = (folder / name for name in ("samples.png", "trajectory.png", "samples.npz"))
    save_grid(images, len(classes), grid)
    table(strip, _rows(walks, [short(names[label]) for label in classes]))
    with atomic_write(arrays) as temporary:
        colour = images.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        np.savez(temporary, arr_0=colour.numpy(), arr_1=np.resize(np.array(classes, np.int64), asked.n))
    return [f"Written: {path}" for path in (grid, strip, arrays)]


def trajectory(model: Trained, n: int, classes: Sequence[int], seed: int, steps: int | None) -> dict[int, Tensor]:
    """Return the first n samples after growing numbers of steps: a shorter walk is the beginning of the full walk."""
    total = model.sampler(steps).sampler.steps
    moments = sorted({round(total * part / (MOMENTS - 1)) for part in range(MOMENTS)})
    return {moment: model.sample(n, classes, seed, moment) for moment in moments}


def _draw(model: Trained, asked: Arguments, classes: list[int]) -> Tensor:
    """Draw the samples in 8 bits, with a progress bar on a terminal."""
    chunks = model.samples(asked.n, classes, asked.seed, asked.steps)
    count = -(-asked.n // model.chunk)
    progress = track(chunks, "samples", count, console=console, transient=True, disable=not console.is_terminal)
    return torch.cat([eight_bits(images) for images in progress])


def _rows(walked: dict[int, Tensor], names: list[str]) -> list[list[Cell]]:
    """Return a row for each sample, with a column for each shown point of its walk."""
    rows: list[list[Cell]] = []
    for i, images in enumerate(zip(*walked.values(), strict=True)):
        captions = [f"{moment} steps" if moment else f"{names[i % len(names)]}: start" for moment in walked]
        rows.append([Cell(image, caption) for image, caption in zip(images, captions, strict=True)])
    return rows
