"""Previews of training: small grids of samples from the model as it trains, in the stage's folder.

They do not change training's random numbers, and take at most about 1 % of a stage's time.
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
"""Maximum number of previews of a stage, at equal distances."""

IMAGES, COLUMNS = 10, 5

SHARE, SUPPOSED = 0.01, 0.3
"""Maximum share of a stage's time for previews; assumed seconds for one before the first is measured."""


class Previews:
    """Draws previews of one stage of a run during its training."""

    def __init__(self, run: Run, stage_run: StageRun) -> None:
        self.run, self.stage_run, self.folder = run, stage_run, stage_run.folder / "glimpses"
        self.begun, self.spent, self.last = time.monotonic(), 0.0, SUPPOSED
        self.possible = join().rank == 0 and not (join().size > 1 and stage_run.stage.sharded)

    def look(self, progress: Progress) -> None:
        """Save a grid of samples if one is due; an error ends the previews, not the run."""
        before, now = ((progress.step - k) * MOMENTS // progress.steps for k in (1, 0))
        started = time.monotonic()
        if not self.possible or now == before or self.spent + self.last > SHARE * (started - self.begun):
            return
        try:
            self._draw(progress)
        except Exception as error:  # a method that cannot sample yet, no outliers, no memory, no room on the disk
            self.possible = False
            log.info("no previews of %s: %s", self.stage_run.folder, error)
        self.last = time.monotonic() - started
        self.spent += self.last

    def _draw(self, progress: Progress) -> None:
        device, stage = progress.model.mean.device, self.stage_run.stage
        if self.stage_run.parent is None and not self.folder.exists():  # initial images of the walks
            rng = generator(device, self.run.config.seed, self.stage_run.name, "state")
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
    """The grids of all stages of a run, each as (images seen so far in all stages, file)."""
    grids: list[tuple[int, Path]] = []
    before = 0
    for stage_run in run.stage_runs:
        folder = stage_run.folder / "glimpses"
        paths = [] if folder.is_symlink() else sorted(folder.glob("[0-9]*.png"))
        grids += [(before + int(path.stem), path) for path in paths]
        logged = read_lines(stage_run.folder / "metrics.jsonl")
        before += logged[-1]["images"] if logged else 0
    return grids
