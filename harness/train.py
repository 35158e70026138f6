"""A stage's training loop: from the newest sound checkpoint to the stage's weights, whatever interrupts it."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness import checkpoint
from harness.data import Dataset, Outliers, OutlierView
from harness.energy import EnergyModel
from harness.errors import Diverged, UserError
from harness.files import read_lines, write_json, write_text
from harness.loader import batches
from harness.method import Batch, Loss, Stage, State, Stream
from harness.optimise import averaged, optimizer, sharpest
from harness.randomness import derive, generator

LOGGED = 500
"""How many points the curves of a stage have at most."""


@dataclass(frozen=True)
class Progress:
    """Where a stage's training is; handed to `watch` after each step."""

    step: int
    steps: int
    figures: dict[str, float]
    checkpointed: bool


@dataclass(frozen=True)
class Materials:
    """What a stage trains on; `key` is the root of all its randomness, `workers` load images."""

    data: Dataset
    outliers: Outliers | None
    key: tuple[int | str, ...]
    device: torch.device
    workers: int = 0


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
    averaged model where the stage averages. Raises Diverged, with the checkpoints kept.
    """
    loop = Loop(stage, model, materials, folder)
    loop.resume()
    for step, batch in loop.remaining():
        figures = loop.step(step, batch)
        due = time.monotonic() - loop.saved_at > checkpoint_seconds
        if due:
            loop.save(step + 1)
        watch(Progress(step + 1, loop.steps, figures, due))
    loop.finish()


class Loop:
    """The training of one stage between two interruptions."""

    def __init__(self, stage: Stage, model: EnergyModel, materials: Materials, folder: Path) -> None:
        how = stage.training
        self.stage, self.model, self.materials, self.folder = stage, model, materials, folder
        self.images = len(materials.data.labels("train"))
        self.skipped: set[str] = set()
        self.steps = how.steps(self.images)
        self.logged_every = max(1, self.steps // LOGGED)
        model.freeze_norm = how.freeze_norm
        self.optimizer = optimizer(list(model.parameters()), how)
        self.average = None if how.ema is None else averaged(model, how.ema)
        self.state: State = stage.state(materials.data, self.rng("state"))
        self.constants: State = {k: v.to(materials.device) for k, v in stage.constants(materials.data).items()}
        self.start, self.spent, self.resumed = 0, 0.0, 0
        self.started_at = self.saved_at = time.monotonic()

    def rng(self, *key: int | str) -> torch.Generator:
        """A generator for one use in one step."""
        return generator(self.materials.device, *self.materials.key, *key)

    def resume(self) -> None:
        """Continue from the newest sound checkpoint, if there is one; forget what was logged after it."""
        content = checkpoint.load_newest(self.folder / "checkpoints", self.materials.device)
        if content is not None:
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(content["average"])
            for name, value in self.state.items():
                value.copy_(content["state"][name])
            self.start, self.spent = content["step"], content["seconds"]
            self.resumed = content["resumed"] + 1
            self.skipped = set(content["skipped"])
        lines = [line for line in read_lines(self.curves) if line["step"] <= self.start]
        write_text(self.curves, "".join(json.dumps(line) + "\n" for line in lines))
        self.started_at = self.saved_at = time.monotonic()

    @property
    def curves(self) -> Path:
        """The stage's metrics.jsonl."""
        return self.folder / "metrics.jsonl"

    @property
    def seconds(self) -> float:
        """Training time so far, interruptions not counted."""
        return self.spent + time.monotonic() - self.started_at

    def remaining(self) -> Iterator[tuple[int, Batch]]:
        """The steps that are left, with their batches."""
        streams: dict[Stream, Iterator[tuple[Tensor, Tensor]]] = {name: self._stream(name) for name in self.stage.needs}
        for step in range(self.start, self.steps):
            images: dict[Stream, Tensor] = {}
            labels: dict[Stream, Tensor] = {}
            for stream, loader in streams.items():
                x, y = next(loader)
                images[stream] = x.to(self.materials.device, non_blocking=True)
                labels[stream] = y.to(self.materials.device, non_blocking=True)
            yield step, Batch(images, labels)

    def _stream(self, stream: Stream) -> Iterator[tuple[Tensor, Tensor]]:
        source = self.materials.outliers if stream == "outliers" else self.materials.data
        if source is None:
            raise UserError("This stage needs outliers, and none are configured: choose some with outliers=…")
        view = OutlierView(source) if isinstance(source, Outliers) else source.view("train", stream)
        length = len(source) if isinstance(source, Outliers) else self.images
        seed = derive(*self.materials.key, "stream", stream)
        size, workers = self.stage.training.size(stream), self.materials.workers
        return batches(view, length, size, seed, self.start, self.steps, workers, source.on_bad_image, self.skipped)

    def loss(self, step: int, batch: Batch) -> Loss:
        """The loss of a step."""
        return self.stage.loss(self.model, batch, {**self.constants, **self.state}, self.rng("step", step))

    def step(self, step: int, batch: Batch) -> dict[str, float]:
        """One optimiser step; the loss terms and figures of it."""
        how = self.stage.training
        self.model.train()
        loss = self.loss(step, batch)
        figures = self._figures(loss, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        if how.sharpness:
            self._sharpen(loss)
        for group in self.optimizer.param_groups:
            group["lr"] = how.rate(step, self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        if (step + 1) % self.logged_every == 0 or step + 1 == self.steps:
            self._log(step + 1, figures)
        return figures

    def _sharpen(self, loss: Loss) -> None:
        """Replace the gradients by those at the sharpest nearby weights."""
        if loss.again is None:
            raise UserError("This stage cannot be trained sharpness-aware: set its training.sharpness=0.")
        with sharpest(self.model, self.stage.training):
            self.optimizer.zero_grad(set_to_none=True)
            Loss(loss.again()).total.backward()

    def _figures(self, loss: Loss, step: int) -> dict[str, float]:
        figures = {name: float(torch.as_tensor(value).detach()) for name, value in (loss.terms | loss.monitors).items()}
        total = loss.total
        if not abs(total.item()) <= self.stage.training.bound:  # so written, NaN fails too
            terms = ", ".join(f"{name} {figures[name]:.4g}" for name in loss.terms)
            raise Diverged(f"loss {total.item():.4g} at step {step + 1} of {self.steps} ({terms})")
        return figures

    def _log(self, step: int, figures: dict[str, float]) -> None:
        line = {
            "step": step,
            "images": step * self.stage.training.batch,
            "seconds": round(self.seconds, 2),
            **figures,
        }
        with self.curves.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def save(self, step: int) -> None:
        """Write a checkpoint of everything that the next step depends on."""
        content = {
            "step": step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "state": self.state,
            "seconds": self.seconds,
            "resumed": self.resumed,
            "skipped": sorted(self.skipped),
        }
        checkpoint.save(self.folder / "checkpoints", step, content)
        self.saved_at = time.monotonic()

    def result(self) -> nn.Module:
        """What the stage hands on: the averaged model, or the model itself where the stage does not average."""
        return self.model if self.average is None else self.average.module

    def finish(self) -> None:
        """Write the stage's result: weights, state, and last the cost, whose file marks the stage as done.

        Checkpoints have then done their duty and are removed.
        """
        weights = self.result().state_dict()
        if not all(bool(w.isfinite().all()) for w in weights.values()):
            raise Diverged(f"weights are not finite after the last of {self.steps} steps")
        checkpoint.save_tensors(self.folder / "weights.safetensors", weights)
        checkpoint.save_tensors(self.folder / "state.safetensors", self.state)
        write_json(self.folder / "done.json", self._cost())
        for path in checkpoint.saved(self.folder / "checkpoints"):
            path.unlink()

    def _cost(self) -> dict[str, Any]:
        images = self.steps * self.stage.training.batch
        return {
            "steps": self.steps,
            "images": images,
            "seconds": round(self.seconds, 2),
            "images_per_second": round(images / self.seconds, 2),
            "peak_memory_mb": peak_memory_mb(self.materials.device),
            "resumed": self.resumed,
            "skipped": len(self.skipped),
        }


def peak_memory_mb(device: torch.device) -> int:
    """The most memory used so far: of the device where it is one, else of this process, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 10**6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000
