"""A stage's training loop: from the newest sound checkpoint to the stage's weights, whatever interrupts it."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from harness import checkpoint
from harness.clock import section
from harness.compiled import compiled
from harness.device import peak_memory_mb
from harness.energy import EnergyModel
from harness.errors import Diverged, UserError
from harness.files import append_line, read_lines, write_json, write_text
from harness.method import Batch, Loss, Stage, State, Stream
from harness.optimise import averaged, optimizer, sharpest
from harness.precision import computing
from harness.randomness import generator
from harness.recompute import recompute
from harness.replicas import alike, average, synchronised
from harness.share import Share
from harness.spent import Spent
from harness.stop import Leave, deferred
from harness.streams import Materials, check_shares, remaining

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


class Loop:
    """The training of one stage between two interruptions."""

    def __init__(self, stage: Stage, model: EnergyModel, materials: Materials, folder: Path) -> None:
        how = stage.training
        self.stage, self.model, self.materials, self.folder = stage, model, materials, folder
        self.world = materials.world
        self.images = materials.data.count("train")
        self.skipped: set[str] = set()
        self.made_with: list[str] = []
        self.steps = how.steps(self.images)
        self.logged_every = max(1, self.steps // LOGGED)
        check_shares(stage, self.world.size, materials.accumulate)
        model.freeze_norm = how.freeze_norm
        self.statistics = synchronised(model, self.world, materials.accumulate, materials.device)
        self.optimizer = optimizer(list(model.parameters()), how)
        self.average = None if how.ema is None else averaged(model, how.ema)
        if materials.recompute:
            recompute(model, self.statistics)
        if materials.compile:
            compiled(model, stage)
        state = stage.state(materials.data, self.rng("state"))
        self.state: State = {k: self.world.dealt(v) if k in stage.dealt else v for k, v in state.items()}
        self.constants: State = {k: v.to(materials.device) for k, v in stage.constants(materials.data).items()}
        self.writer = checkpoint.Writer()
        self.start, self.resumed = 0, 0
        self.spent = Spent(materials.device, self.world)
        self.saved_at = time.monotonic()

    def rng(self, *key: int | str) -> torch.Generator:
        """A generator for one use in one step."""
        return generator(self.materials.device, *self.materials.key, *key)

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

    def loss(self, step: int, batch: Batch, piece: int = 0) -> Loss:
        """The loss of a step, on a piece of this process's part of the batch."""
        pieces = self.materials.accumulate

        def of(tensors: dict[Stream, Tensor]) -> dict[Stream, Tensor]:
            return {stream: x.chunk(pieces)[piece] for stream, x in tensors.items()}

        part = Batch(of(batch.images), of(batch.labels), batch.whole)
        share = Share(self.rng("step", step), self.world, piece, pieces)
        return self.stage.loss(self.model, part, {**self.constants, **self.state}, share)

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One optimiser step; the loss terms and figures of it, as means over the whole batch."""
        how = self.stage.training
        self.model.train()
        with section("forward and backward"), self._computing():
            losses = [self._backward(self.loss(step, batch, piece)) for piece in range(self.materials.accumulate)]
        with section("figures"):
            figures = self._figures(losses, step)
        average(self.model, self.world)
        if how.sharpness:
            with section("forward and backward"), self._computing():
                self._sharpen(losses)
        with section("optimiser and average"):
            self._update(how.rate(step, self.steps))
        if (step + 1) % self.logged_every == 0 or step + 1 == self.steps:
            with section("logging"):
                self._log(step + 1, figures)
        return figures

    def _computing(self) -> AbstractContextManager[None]:
        return computing(self.stage.training.precision, self.materials.device)

    def _update(self, rate: float) -> None:
        """Change the weights by their gradients, and the averaged ones by them."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _backward(self, loss: Loss) -> Loss:
        """Add a piece's gradients, and let go of its graph."""
        (loss.total / self.materials.accumulate).backward()
        terms, seen = ({k: v.detach() for k, v in values.items()} for values in (loss.terms, loss.seen))
        return Loss(terms, loss.monitors, loss.again, seen)

    def _sharpen(self, losses: list[Loss]) -> None:
        """Replace the gradients by those at the sharpest nearby weights."""
        with sharpest(self.model, self.stage.training):
            self.optimizer.zero_grad(set_to_none=True)
            for loss in losses:
                if loss.again is None:
                    raise UserError("This stage cannot be trained sharpness-aware: set its training.sharpness=0.")
                self._backward(Loss(loss.again()))
            average(self.model, self.world)

    def _figures(self, losses: list[Loss], step: int) -> dict[str, float]:
        """Means of the terms and figures; the stage's state advances by what all of them saw. The one time that a step
        waits for its device."""
        each = [
            {k: torch.as_tensor(v, device=self.materials.device).detach().double() for k, v in figures.items()}
            for figures in (loss.terms | loss.monitors for loss in losses)
        ]
        means = self.world.mean(torch.stack([torch.stack([one[k] for one in each]).mean() for k in each[0]]))
        seen = {k: self.world.gathered(torch.cat([loss.seen[k] for loss in losses])) for k in losses[0].seen}
        read = dict(zip(["means", *seen], _read([means, *seen.values()]), strict=True))
        figures = dict(zip(each[0], read.pop("means").tolist(), strict=True))
        total = sum(figures[name] for name in losses[0].terms)
        if not abs(total) <= self.stage.training.bound:  # so written, NaN fails too
            terms = ", ".join(f"{name} {figures[name]:.4g}" for name in losses[0].terms)
            raise Diverged(f"loss {total:.4g} at step {step + 1} of {self.steps} ({terms})")
        return figures | self.stage.advance(self.state, read)

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
            "state": self._whole_state(),
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

    def _whole_state(self) -> State:
        """The state with whole buffers, in the memory of the CPU, which has room for them."""
        return {k: self.world.collected(v.cpu()) if k in self.stage.dealt else v for k, v in self.state.items()}

    def result(self) -> EnergyModel:
        """What the stage hands on: the averaged model, or the model itself where the stage does not average."""
        return self.model if self.average is None else cast(EnergyModel, self.average.module)

    def finish(self) -> None:
        """Write the stage's result: weights, state, and last the cost, whose file marks the stage as done.

        Checkpoints have then done their duty and are removed.
        """
        self.writer.wait()
        weights, state = self.result().state_dict(), self._whole_state()
        if not all(bool(w.isfinite().all()) for w in weights.values()):
            raise Diverged(f"weights are not finite after the last of {self.steps} steps")
        self.skipped.update(self._all_skipped())
        joules = self.spent.joules()
        self.world.once(lambda: self._write(weights, state, joules))

    def _write(self, weights: dict[str, Tensor], state: State, joules: float | None) -> None:
        checkpoint.save_tensors(self.folder / "weights.safetensors", weights)
        checkpoint.save_tensors(self.folder / "state.safetensors", state)
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


def _read(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors as doubles in the memory of the CPU, brought there together."""
    flat = torch.cat([x.double().flatten() for x in tensors]).cpu()
    return [part.view(x.shape) for part, x in zip(flat.split([x.numel() for x in tensors]), tensors, strict=True)]
