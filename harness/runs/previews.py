"""Glimpses of training: what a stage's model can draw by now, a few small grids in the stage's folder.

They take nothing that training needs: neither its random numbers nor its time.
"""

import logging
import time
from pathlib import Path

import torch

from harness.core.device import full_precision
from harness.core.distributed import join
from harness.core.energy import EnergyModel
from harness.core.files import read_lines
from harness.core.method import Method, State
from harness.core.random import generator
from harness.core.walk import frozen
from harness.evaluation.samples import draw_of, eight_bits, save_grid
from harness.evaluation.selection import with_steps
from harness.runs.build import outliers
from harness.runs.run import Run, StageRun
from harness.training.loop import Progress

log = logging.getLogger(__name__)

MOMENTS = 8
"""How many there are of a stage at most, at equal distances."""

IMAGES, COLUMNS = 10, 5

SHARE, SUPPOSED = 0.01, 0.3
"""Of a stage's time they take at most this share; the seconds that one is supposed to take before the first."""


class Previews:
    """The glimpses of one stage of a run, while it is trained."""

    def __init__(self, run: Run, training: StageRun) -> None:
        self.run, self.training, self.folder = run, training, training.folder / "glimpses"
        self.begun, self.spent, self.last = time.monotonic(), 0.0, SUPPOSED
        self.possible = join().rank == 0 and not (join().size > 1 and training.stage.sharded)

    def look(self, progress: Progress) -> None:
        """Draw and keep a grid where it is time for one, which may cost the run nothing: a fault ends the glimpses."""
        before, now = ((progress.step - k) * MOMENTS // progress.steps for k in (1, 0))
        started = time.monotonic()
        if not self.possible or now == before or self.spent + self.last > SHARE * (started - self.begun):
            return
        try:
            self._draw(progress)
        except Exception as error:  # a method that cannot sample yet, no outliers, no memory, no room on the disk
            self.possible = False
            log.info("no glimpses of %s: %s", self.training.folder, error)
        self.last = time.monotonic() - started
        self.spent += self.last

    def _draw(self, progress: Progress) -> None:
        device, stage = progress.model.mean.device, self.training.stage
        if self.training.parent is None and not self.folder.exists():  # where walks begin: MLflow's sliders do, too
            rng = generator(device, self.run.config.seed, self.training.name, "state")
            self._keep(0, with_steps(self.run.method, 0), progress.model, stage.state(self.run.data, rng))
        self._keep(progress.step * stage.training.batch, self.run.method, progress.model, progress.state)

    def _keep(self, images: int, method: Method, model: EnergyModel, state: State) -> None:
        source, classes = outliers(self.run), len(self.run.data.classes)
        source.ready()
        labels = torch.tensor([i * classes // IMAGES for i in range(IMAGES)], device=model.mean.device)
        with frozen(model), full_precision():
            grid = draw_of(method, model, state, source, labels, 0, range(IMAGES))
        save_grid(eight_bits(grid.cpu()), COLUMNS, self.folder / f"{images:010d}.png")


def glimpses(run: Run) -> list[tuple[int, Path]]:
    """The grids of a run's stages: the images seen by then in all stages, and the file."""
    found: list[tuple[int, Path]] = []
    before = 0
    for training in run.stage_runs:
        paths = sorted((training.folder / "glimpses").glob("[0-9]*.png"))
        found += [(before + int(path.stem), path) for path in paths]
        logged = read_lines(training.folder / "metrics.jsonl")
        before += logged[-1]["images"] if logged else 0
    return found
