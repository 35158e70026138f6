"""One optimiser step of a stage, on a batch that processes and pieces share."""

from contextlib import AbstractContextManager
from typing import cast

import torch
from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.errors import Diverged, UserError
from harness.core.method import Batch, Loss, Stage, State, Stream
from harness.core.optim import averaged, optimizer, sharpest
from harness.core.precision import computing
from harness.core.random import generator
from harness.core.shard import Share
from harness.core.timing import section
from harness.training.batches import Materials, check_shares
from harness.training.compiled import compiled
from harness.training.recompute import recompute
from harness.training.replicas import average, synchronised


class Learner:
    """A stage's model, with the optimiser, average and state that each step changes."""

    def __init__(self, stage: Stage, model: EnergyModel, materials: Materials) -> None:
        how = stage.training
        self.stage, self.model, self.materials, self.world = stage, model, materials, materials.world
        self.steps = how.steps(materials.data.length("train"))
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

    def rng(self, *key: int | str) -> torch.Generator:
        """A generator for one use in one step."""
        return generator(self.materials.device, *self.materials.key, *key)

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
        return figures

    def result(self) -> EnergyModel:
        """What the stage hands on: the averaged model, or the model itself where the stage does not average."""
        return self.model if self.average is None else cast(EnergyModel, self.average.module)

    def whole_state(self) -> State:
        """The state with whole buffers, in the memory of the CPU, which has room for them."""
        return {k: self.world.collected(v.cpu()) if k in self.stage.dealt else v for k, v in self.state.items()}

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


def _read(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors as doubles in the memory of the CPU, brought there together."""
    flat = torch.cat([x.double().flatten() for x in tensors]).cpu()
    return [part.view(x.shape) for part, x in zip(flat.split([x.numel() for x in tensors]), tensors, strict=True)]
