"""A model that several processes train as one: equal weights everywhere, gradients and statistics of the whole batch.

Not by DistributedDataParallel: losses call the net several times, in walks and for gradients of gradients, and what it
would save, by averaging gradients while the backward pass goes on, is small beside a walk.
"""

from typing import Literal

import torch
from torch import nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.modules.batchnorm import _BatchNorm

from harness.core.distributed import World
from harness.core.energy import EnergyModel

Statistics = Literal["frozen", "of each piece", "of each process", "of all processes"]
"""Whose images batch normalisation sees at a time while it learns; only where it is frozen no result depends on how a
batch is shared."""


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
