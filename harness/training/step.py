"""One optimiser step of a stage, on a batch that processes and pieces share."""

import logging
from contextlib import AbstractContextManager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.modules.batchnorm import _BatchNorm

from harness.core.device import computing
from harness.core.distributed import World
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged, UserError
from harness.core.method import Batch, Loss, Stage, State, Stream
from harness.core.optim import averaged, optimizer, sharpest
from harness.core.random import generator
from harness.core.shard import Share
from harness.core.timing import section
from harness.training.batches import Materials, check_shares

log = logging.getLogger(__name__)

Statistics = Literal["frozen", "of each piece", "of each process", "of all processes"]
"""Whose images batch normalisation sees at a time while it learns; only where it is frozen no result depends on how a
batch is shared."""


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


def compiled(model: EnergyModel, stage: Stage) -> None:
    """Have the net compiled at its next passes, of which each kind takes a while; what cannot be runs as it is."""
    if stage.twice:
        log.warning("compile=true is left out: torch cannot compile gradients of gradients, which this stage needs.")
        return
    torch._dynamo.config.suppress_errors = True  # torch then says what it could not compile, and runs it as it is
    model.compile(dynamic=False)  # not the net, which torch passes over where it is one of its own containers


def recompute(model: EnergyModel, statistics: str) -> None:
    """Have the net's blocks keep their inputs alone, as timm can; UserError where that cannot be, or is not exact.

    statistics: what batch normalisation sees. Where it learns, each pass that is made again would count again.
    """
    switch = getattr(model.net, "set_grad_checkpointing", None)
    if switch is None:
        raise UserError("recompute=true is for nets of timm's that can do it: leave it out, or try accumulate=N.")
    if statistics != "frozen":
        raise UserError(
            "recompute=true would count each batch twice in running statistics: use it where normalisation is frozen "
            "(freeze_norm) or has none, and accumulate=N elsewhere."
        )
    switch(True)


# A model that several processes train as one has equal weights everywhere, and gradients and statistics of the whole
# batch. Not by DistributedDataParallel: losses call the net several times, in walks and for gradients of gradients, and
# what it would save, by averaging gradients while the backward pass goes on, is small beside a walk.


def synchronised(model: EnergyModel, world: World, accumulate: int, device: torch.device) -> Statistics:
    """Make batch normalisation see the images of all processes where it can, and say what it sees.

    torch can on GPUs alone. On the CPU each process normalises by its own images, and running statistics are averaged.
    """
    if model.freeze_norm or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return "frozen"
    if world.size > 1 and device.type == "cuda":
        model.net = nn.SyncBatchNorm.convert_sync_batchnorm(model.net)
    if accumulate > 1:
        return "of each piece"
    return "of each process" if world.size > 1 and device.type != "cuda" else "of all processes"


def average(model: EnergyModel, world: World) -> None:
    """Make gradients, and running statistics, the means over all processes."""
    if world.size == 1:
        return
    shared = [p.grad for p in model.parameters() if p.grad is not None]
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) and norm.training and not isinstance(norm, nn.SyncBatchNorm):
            shared += [value for value in (norm.running_mean, norm.running_var) if value is not None]
    flat = world.mean(_flatten_dense_tensors(shared))
    for tensor, value in zip(shared, _unflatten_dense_tensors(flat, shared), strict=True):
        tensor.copy_(value)


def alike(model: nn.Module, world: World) -> bool:
    """Whether all processes hold the same weights, as they must at every step."""
    own = torch.stack([value.double().sum() for value in model.state_dict().values()]).nan_to_num().cpu()
    return bool((world.gathered(own[None]) == own).all())
