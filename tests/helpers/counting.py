"""Counters of a computation's cost: reads by the host, and tensors that are allocated."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = (
    *(getattr(torch.Tensor, name) for name in ("item", "tolist", "cpu", "numpy", "nonzero", "unique")),
    *(getattr(torch.Tensor, name) for name in ("__bool__", "__int__", "__float__", "__index__")),
)
"""Functions that make the host wait for the device of a tensor, some of them for the shape of their result."""

INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


def masks(function, given):
    """Whether this is indexing by a mask, for whose number of true entries the host waits."""
    return function in INDEXING and any(x.dtype == torch.bool for x in tree_leaves(given[1]) if torch.is_tensor(x))


class Reads(TorchFunctionMode):
    """Count the reads of device tensors: all tensors except those of `home` and those computed only from them.

    This finds on the CPU what would make a GPU's host wait. The result of .cpu() counts as part of `home` from then on.
    """

    def __init__(self, home):
        super().__init__()
        self.count, self.home = 0, {id(tensor): tensor for tensor in home}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)]
        at_home = bool(given) and all(id(x) in self.home for x in given)
        self.count += (function in READS or masks(function, args)) and not at_home
        found = function(*args, **(kwargs or {}))
        if at_home or function is torch.Tensor.cpu:
            self.home |= {id(x): x for x in tree_leaves(found) if isinstance(x, torch.Tensor)}
        return found


class Allocations(TorchDispatchMode):
    """Count the tensors that operators return in newly allocated memory."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        given = {memory(x) for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)}
        self.count += len({memory(x) for x in tree_leaves(found) if isinstance(x, torch.Tensor)} - given)
        return found


def memory(x):
    return x.untyped_storage()._cdata
