"""One optimiser step of a stage, on a batch that is split over processes and pieces. Knows no disk."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.modules.batchnorm import _BatchNorm

from harness.core.device import Precision, computing
from harness.core.distributed import World
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged, UserError
from harness.core.method import Batch, Loss, Stage, State, Stream
from harness.core.optim import Average, foreach, optimizer, sharpest
from harness.core.random import generator
from harness.core.shard import Shard
from harness.core.timing import section
from harness.core.walk import Forward, forward, keep_walks, repeat_walks, walk_through
from harness.training.batches import StageInputs, batches, check_shares

log = logging.getLogger(__name__)

Statistics = Literal["frozen", "of each piece", "of each process", "of all processes"]
"""Over which images batch normalisation computes its statistics; "frozen" also if the net has none. With the other
values the result depends on how a batch is split."""


class Step:
    """Takes the optimiser steps of a stage: its model, and the optimiser, average and state that each step changes."""

    def __init__(self, stage: Stage, model: EnergyModel, inputs: StageInputs) -> None:
        how = stage.training
        self.stage, self.model, self.inputs, self.world = stage, model, inputs, inputs.world
        self.steps = how.steps(inputs.data.length("train"))
        self.skipped: set[str] = set()
        check_shares(stage, self.world.size, inputs.accumulate)
        model.freeze_norm = how.freeze_norm
        lay_out(model, how.precision, inputs.device)
        self.statistics = synchronise_norm(model, self.world, inputs.accumulate, inputs.device)
        self.optimizer = optimizer(list(model.parameters()), how)
        self.average = None if how.ema is None else Average(model, how.ema)
        if inputs.recompute:
            recompute_activations(model, self.statistics)
        self.forward = forward
        if inputs.compile == "walk":
            self.forward = compile_walks()
        elif inputs.compile:
            compile_net(model, stage)
        state = stage.state(inputs.data, self.rng("state"))
        self.state: State = {k: self.world.split_rows(v) if k in stage.sharded else v for k, v in state.items()}
        self.constants: State = {k: v.to(inputs.device) for k, v in stage.constants(inputs.data).items()}

    def __call__(self, number: int, batch: Batch) -> dict[str, float]:
        """Take step `number`; its loss terms and figures, as means over the whole batch. Diverged if too large."""
        how, pieces = self.stage.training, range(self.inputs.accumulate)
        self.model.train()

        # Add up the gradients of this process's pieces of the batch.
        with section("forward and backward"), self._precision():
            loss_of = self._repeatable if how.perturbs else self.loss
            losses = [self._backward(loss_of(number, batch, piece)) for piece in pieces]

        # Average the gradients over processes; with SAM or AWP, replace them by those at nearby weights of higher loss.
        average_gradients(self.model, self.world)
        if how.perturbs:
            with section("forward and backward"), self._precision():
                self._perturb(losses)

        # Read the loss terms and figures: the one time that a step waits for its device.
        with section("figures"):
            figures = self._figures(losses, number)

        with section("optimiser and average"):
            for group in self.optimizer.param_groups:
                group["lr"] = how.rate(number, self.steps)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.average is not None:
                self.average.update_parameters(self.model)
        return figures

    def batches(self, start: int = 0) -> Iterator[tuple[int, Batch]]:
        """The steps from `start` on, each with this process's part of its batch."""
        return batches(self.stage, self.inputs, start, self.steps, self.skipped)

    def loss(self, number: int, batch: Batch, piece: int = 0) -> Loss:
        """The loss of a step, on a piece of this process's part of the batch."""
        pieces = self.inputs.accumulate

        def of_piece(tensors: dict[Stream, Tensor]) -> dict[Stream, Tensor]:
            return {stream: x.chunk(pieces)[piece] for stream, x in tensors.items()}

        part = Batch(of_piece(batch.images), of_piece(batch.labels))
        shard = Shard(self.rng("step", number), self.world, piece, pieces)
        with walk_through(self.forward):
            return self.stage.loss(self.model, part, {**self.constants, **self.state}, shard)

    def result(self) -> EnergyModel:
        """What the stage hands on: the averaged model, or the model itself if the stage does not average."""
        return self.model if self.average is None else cast(EnergyModel, self.average.module)

    def whole_state(self) -> State:
        """The state with whole replay buffers, on the CPU, which has room for them."""
        return {k: self.world.join_rows(v.cpu()) if k in self.stage.sharded else v for k, v in self.state.items()}

    def all_skipped(self) -> list[str]:
        """The unreadable image files that any process has skipped."""
        texts = self.world.gather_text("\n".join(self.skipped))
        return sorted({path for text in texts for path in text.splitlines()})

    def content(self) -> dict[str, Any]:
        """All that the next step depends on. Collective; RuntimeError if the processes' weights differ."""
        if not same_weights(self.model, self.world):
            raise RuntimeError("the processes' weights differ: this is a fault of the harness")
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "state": self.whole_state(),
            "skipped": self.all_skipped(),
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Continue from the content of a checkpoint."""
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        for name, value in self.state.items():
            saved = content["state"][name]
            value.copy_(self.world.split_rows(saved) if name in self.stage.sharded else saved)
        self.skipped.update(content["skipped"])

    def rng(self, *key: int | str) -> torch.Generator:
        """A generator for one use in one step."""
        return generator(self.inputs.device, *self.inputs.key, *key)

    def _precision(self) -> AbstractContextManager[None]:
        return computing(self.stage.training.precision, self.inputs.device)

    def _backward(self, loss: Loss) -> Loss:
        """Add a piece's gradients, and free its graph."""
        (loss.total / self.inputs.accumulate).backward()
        terms, per_image = ({k: v.detach() for k, v in values.items()} for values in (loss.terms, loss.per_image))
        return Loss(terms, loss.monitors, loss.recompute, per_image)

    def _repeatable(self, number: int, batch: Batch, piece: int) -> Loss:
        """The loss of a step on a piece, which can be computed again at other weights, without walking again."""
        with keep_walks() as walks:
            loss = self.loss(number, batch, piece)

        def again() -> dict[str, Tensor]:
            with repeat_walks(walks):
                return self.loss(number, batch, piece).terms

        return replace(loss, recompute=loss.recompute or again)

    def _perturb(self, losses: list[Loss]) -> None:
        """Replace the gradients by those at nearby weights of higher loss."""
        with sharpest(self.model, self.stage.training):
            self.optimizer.zero_grad(set_to_none=True)
            for recompute in [loss.recompute for loss in losses if loss.recompute]:
                self._backward(Loss(recompute()))
            average_gradients(self.model, self.world)

    def _figures(self, losses: list[Loss], number: int) -> dict[str, float]:
        """Means of the terms and figures; the stage's state is updated by the per-image values of the whole batch."""
        each = [
            {k: torch.as_tensor(v, device=self.inputs.device).detach().double() for k, v in figures.items()}
            for figures in (loss.terms | loss.monitors for loss in losses)
        ]
        means = self.world.mean(torch.stack([torch.stack([one[k] for one in each]).mean() for k in each[0]]))
        per_image = {
            k: self.world.gather(torch.cat([loss.per_image[k] for loss in losses])) for k in losses[0].per_image
        }
        values = dict(zip(["means", *per_image], _to_cpu([means, *per_image.values()]), strict=True))
        figures = dict(zip(each[0], values.pop("means").tolist(), strict=True))
        total = sum(figures[name] for name in losses[0].terms)
        if not abs(total) <= self.stage.training.bound:  # so written, NaN fails too
            terms = ", ".join(f"{name} {figures[name]:.4g}" for name in losses[0].terms)
            raise Diverged(f"loss {total:.4g} at step {number + 1} of {self.steps} ({terms})")
        return figures | self.stage.update_state(self.state, values)


def _to_cpu(tensors: list[Tensor]) -> list[Tensor]:
    """Tensors as doubles on the CPU, copied together."""
    flat = torch.cat([x.double().flatten() for x in tensors]).cpu()
    return [part.view(x.shape) for part, x in zip(flat.split([x.numel() for x in tensors]), tensors, strict=True)]


def lay_out(model: EnergyModel, precision: Precision, device: torch.device) -> None:
    """Keep convolutions' weights in channels-last order where a GPU learns in tf32 or bf16, whose kernels need it.

    Otherwise the weights are laid out again in each pass. Names, shapes and values stay; in fp32 so does the order.
    """
    if device.type == "cuda" and precision != "fp32":
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def compile_net(model: EnergyModel, stage: Stage) -> None:
    """Compile the net; the first pass of each kind is slow. torch runs uncompiled what it cannot compile."""
    if stage.needs_double_backward:
        log.warning("compile=true is left out: torch cannot compile gradients of gradients, which this stage needs.")
        return
    torch._dynamo.config.suppress_errors = True  # torch then logs what it could not compile
    model.compile(dynamic=False)  # not model.net: torch skips a net that is one of its own containers


def compile_walks() -> Forward:
    """The passes of walks, compiled: learning passes stay as they are, also those with gradients of gradients."""
    torch._dynamo.config.suppress_errors = True  # torch then logs what it could not compile
    return torch.compile(forward, dynamic=False)


def recompute_activations(model: EnergyModel, statistics: str) -> None:
    """Activation checkpointing: store only the inputs of timm's blocks, and recompute the rest.

    UserError if the net cannot, or if batch normalisation learns, because each batch would then count twice.
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


def synchronise_norm(model: EnergyModel, world: World, accumulate: int, device: torch.device) -> Statistics:
    """Make batch normalisation use the images of all processes if it can, and return whose images it uses.

    torch can on GPUs alone. On a CPU each process normalises by its own images, and running statistics are averaged.
    """
    if model.freeze_norm or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return "frozen"
    if world.size > 1 and device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm  # torch's own drops activations of timm's norms

        model.net = convert_sync_batchnorm(model.net)
    if accumulate > 1:
        return "of each piece"
    return "of each process" if world.size > 1 and device.type != "cuda" else "of all processes"


def average_gradients(model: EnergyModel, world: World) -> None:
    """Average gradients, and running statistics, over all processes.

    Not by DistributedDataParallel: a loss calls the net several times (walks, second derivatives), and the overlap that
    DDP gains is small beside a walk.
    """
    if world.size == 1:
        return
    shared = [p.grad for p in model.parameters() if p.grad is not None]
    for norm in model.modules():
        if isinstance(norm, _BatchNorm) and norm.training and not isinstance(norm, nn.SyncBatchNorm):
            shared += [value for value in (norm.running_mean, norm.running_var) if value is not None]
    flat = world.mean(_flatten_dense_tensors(shared))
    foreach._foreach_copy_(shared, _unflatten_dense_tensors(flat, shared))


def same_weights(model: nn.Module, world: World) -> bool:
    """Whether all processes hold the same weights, as they must at every step; compared by the sum of each tensor."""
    own = torch.stack([value.double().sum() for value in model.state_dict().values()]).nan_to_num().cpu()
    return bool((world.gather(own[None]) == own).all())
