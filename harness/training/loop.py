"""A stage's training loop: from the newest sound checkpoint to the stage's weights, whatever interrupts it."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.core.device import peak_memory_mb
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged
from harness.core.files import append_line, read_lines, write_json, write_text
from harness.core.method import Batch, Stage, State
from harness.core.signals import Leave, deferred
from harness.core.tensors import save_tensors
from harness.core.timing import section
from harness.training import checkpoint
from harness.training.batches import Materials, remaining
from harness.training.meter import Spent
from harness.training.step import Learner, alike

log = logging.getLogger(__name__)

LOGGED = 500
"""How many points the curves of a stage have at most."""


@dataclass(frozen=True)
class Progress:
    """Where a stage's training is; handed to `watch` after each step.

    model: as the stage would hand it on now; it and the state are to be looked at, and left as they are.
    """

    step: int
    steps: int
    figures: dict[str, float]
    checkpointed: bool
    model: EnergyModel
    state: State


def train(
    stage: Stage,
    model: EnergyModel,
    materials: Materials,
    folder: Path,
    checkpoint_seconds: float,
    watch: Callable[[Progress], None],
) -> None:
    """Train the model through a stage, in place, and leave its weights, state, curves and cost in the folder.

    The model holds the stage's initial weights; a checkpoint in the folder replaces them. The result is the
    averaged model where the stage averages. Raises Diverged, with the checkpoints kept; Leave, when a signal says so,
    with the last step saved.
    """
    loop = Loop(stage, model, materials, folder)
    loop.resume()
    with deferred() as told, loop.writer:
        for step, batch in loop.remaining():
            figures = loop.step(step, batch)
            asked, told.save = told.save, False
            due = asked or time.monotonic() - loop.saved_at > checkpoint_seconds
            save, leave = materials.world.any(due, told.leave)
            if save or leave:
                loop.begin_saving(step + 1)
            watch(Progress(step + 1, loop.steps, figures, save, loop.result(), loop.state))
            if leave:
                materials.world.once(loop.writer.wait)
                raise Leave
        loop.finish()


class Loop(Learner):
    """The training of one stage between two interruptions."""

    def __init__(self, stage: Stage, model: EnergyModel, materials: Materials, folder: Path) -> None:
        super().__init__(stage, model, materials)
        self.folder = folder
        self.skipped: set[str] = set()
        self.made_with: list[str] = []
        self.logged_every = max(1, self.steps // LOGGED)
        self.writer = checkpoint.Writer()
        self.start, self.resumed = 0, 0
        self.spent = Spent(materials.device, self.world)
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Continue from the newest sound checkpoint, if there is one; forget what was logged after it."""
        path = self.world.once(lambda: checkpoint.newest(self.folder / "checkpoints"))
        content = None if path is None else checkpoint.load(path)
        if content is not None:
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            for name, value in self.state.items():
                saved = content["state"][name]
                value.copy_(self.world.dealt(saved) if name in self.stage.dealt else saved)
            self.start, self.resumed = content["step"], content["resumed"] + 1
            self.skipped = set(content["skipped"])
            self.made_with = content.get("made_with", [])
        if self.made_with[-1:] != [self.materials.made_with]:
            self.made_with = [*self.made_with, self.materials.made_with]
            if len(self.made_with) > 1 and self.world.rank == 0:
                log.warning("%s was trained with %s so far, and goes on with %s.", self.folder, *self.made_with[-2:])
        self.world.once(self._forget)
        self.spent.begin(content)
        self.saved_at = time.monotonic()

    def _forget(self) -> None:
        lines = [line for line in read_lines(self.curves) if line["step"] <= self.start]
        write_text(self.curves, "".join(json.dumps(line) + "\n" for line in lines))

    @property
    def curves(self) -> Path:
        """The stage's metrics.jsonl."""
        return self.folder / "metrics.jsonl"

    def remaining(self) -> Iterator[tuple[int, Batch]]:
        """The steps that are left, with this process's parts of their batches."""
        return remaining(self.stage, self.materials, self.start, self.steps, self.skipped)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One optimiser step; the loss terms and figures of it, some of which are kept as the stage's curves."""
        figures = super().step(step, batch)
        if (step + 1) % self.logged_every == 0 or step + 1 == self.steps:
            with section("logging"):
                self._log(step + 1, figures)
        return figures

    def _log(self, step: int, figures: dict[str, float]) -> None:
        if self.world.rank:
            return
        line = {
            "step": step,
            "images": step * self.stage.training.batch,
            "seconds": round(self.spent.seconds, 2),
            **figures,
        }
        append_line(self.curves, line)

    def begin_saving(self, step: int) -> None:
        """Begin to write a checkpoint of everything that the next step depends on; training may go on meanwhile."""
        if not alike(self.model, self.world):
            raise RuntimeError(f"the processes' weights differ at step {step}: this is a fault of the harness")
        content = {
            "step": step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "state": self.whole_state(),
            "seconds": self.spent.seconds,
            "joules": self.spent.joules(),
            "resumed": self.resumed,
            "skipped": self._all_skipped(),
            "made_with": self.made_with,
        }
        if self.world.rank == 0:
            self.writer.begin(self.folder / "checkpoints", step, content)
        self.saved_at = time.monotonic()

    def save(self, step: int) -> None:
        """The same, and wait until it is written."""
        self.begin_saving(step)
        self.writer.wait()

    def _all_skipped(self) -> list[str]:
        """The image files that any process has passed over."""
        return sorted({path for text in self.world.texts("\n".join(self.skipped)) for path in text.splitlines()})

    def finish(self) -> None:
        """Write the stage's result: weights, state, and last the cost, whose file marks the stage as done.

        Checkpoints have then done their duty and are removed.
        """
        self.writer.wait()
        weights, state = self.result().state_dict(), self.whole_state()
        if not all(bool(w.isfinite().all()) for w in weights.values()):
            raise Diverged(f"weights are not finite after the last of {self.steps} steps")
        self.skipped.update(self._all_skipped())
        joules = self.spent.joules()
        self.world.once(lambda: self._write(weights, state, joules))

    def _write(self, weights: dict[str, Tensor], state: State, joules: float | None) -> None:
        save_tensors(self.folder / "weights.safetensors", weights)
        save_tensors(self.folder / "state.safetensors", state)
        write_json(self.folder / "done.json", self._cost() | {"joules": joules and round(joules, 1)})
        for path in checkpoint.saved(self.folder / "checkpoints"):
            path.unlink()

    def _cost(self) -> dict[str, Any]:
        images, seconds = self.steps * self.stage.training.batch, self.spent.seconds
        return {
            "steps": self.steps,
            "images": images,
            "seconds": round(seconds, 2),
            "images_per_second": round(images / seconds, 2),
            "peak_memory_mb": peak_memory_mb(self.materials.device),
            "resumed": self.resumed,
            "skipped": len(self.skipped),
            "processes": self.world.size,
            "accumulate": self.materials.accumulate,
            "statistics": self.statistics,
            "made_with": self.made_with,
        }
