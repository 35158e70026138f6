"""A GPU that is pretended on the CPU: its tensors say cuda:0, hold the CPU's numbers, and raise where CUDA would.

    with PretendedGPU() as gpu:
        ...                       # torch.device("cuda") is there
    assert gpu.waits_in_walks() == []

Operations on tensors of both devices, generators of the other device, and `.numpy()` of a tensor on the GPU raise
WrongDevice. What makes the host wait for the GPU is noted in `waits`. Gradients go through torch's own engine, for
which these tensors lie on "meta", a device that every build of torch knows. Of autocast, only convolutions and linear
layers are pretended; kernels, memory and numerics of a GPU are not.
"""

import sys
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar
from unittest import mock

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from harness.core.walk import walk

ROOT = Path(__file__).parents[2]
GPU = torch.device("cuda", 0)
CPU = torch.device("cpu")

COPIES = ("aten::_to_copy", "aten::copy_")
"""The operations that may have tensors of both devices."""

INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""The operations in which indices of the CPU may select in a tensor of the GPU."""

DEPENDENT = ("nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal", "bincount")
"""The operations whose result, or the shape of it, the host has to know."""

CUDA = {
    "_lazy_init": None,
    "synchronize": None,
    "set_device": None,
    "empty_cache": None,
    "reset_peak_memory_stats": None,
    "max_memory_allocated": 0,
    "memory_allocated": 0,
    "current_device": 0,
    "device_count": 1,
    "mem_get_info": (2**36, 2**37),
    "get_rng_state": None,
    "set_rng_state": None,
    "is_bf16_supported": True,
    "amp.common.amp_definitely_not_available": False,
    "get_device_name": "Pretended GPU",
    "get_device_capability": (9, 0),
    "get_device_properties": SimpleNamespace(
        name="Pretended GPU", uuid="0", multi_processor_count=132, total_memory=2**37, major=9, minor=0
    ),
}
"""What functions of torch.cuda return."""


class WrongDevice(RuntimeError):
    """An operation that fails on a GPU."""


@dataclass(frozen=True)
class Wait:
    """The host waits for the GPU: `what` it does, the line of ours that does it, and whether it is inside a walk."""

    what: str
    where: str
    in_walk: bool


class OnGPU(Tensor):
    """A tensor of the pretended GPU; `here` is the tensor with its numbers."""

    here: Tensor
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)
    is_cpu = property(lambda self: False)

    @staticmethod
    def __new__(cls, here):
        self = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            layout=here.layout,
            device="meta",
        )
        self.here = here
        return self

    def __repr__(self, *, tensor_contents=None):
        return f"{self.here.detach()!r} on {GPU}"

    @property
    def data(self):
        return self.detach()

    @data.setter
    def data(self, value):
        Tensor.data.__set__(self, value)
        self.here = value.here

    def __deepcopy__(self, memo):
        if id(self) not in memo:
            copy = OnGPU(self.here.detach().clone())
            is_parameter = getattr(self, "_is_param", False)
            memo[id(self)] = nn.Parameter(copy) if is_parameter else copy
            memo[id(self)].requires_grad_(self.requires_grad)
        return memo[id(self)]

    def numpy(self, *_, **__):
        raise WrongDevice(f"numpy() of a tensor on {GPU}: use .cpu() first ({place()})")

    __array__ = numpy

    def tolist(self):
        return self.cpu().tolist()

    def __format__(self, form):
        return format(self.item(), form) if self.dim() == 0 else repr(self)

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise AssertionError(f"{function} of a tensor on the pretended GPU, outside of it")


class Generator(torch.Generator):
    """A generator that knows its device; its numbers are those of the CPU."""

    on_gpu: ClassVar[dict[int, "Generator"]] = {}
    """Those of the GPU by address, by which operations know them."""

    def __new__(cls, device="cpu"):
        self = super().__new__(cls, "cpu")
        self.home = GPU if is_gpu(device) else CPU
        if self.home == GPU:
            cls.on_gpu[self._cdata] = self
        return self

    def __init__(self, device="cpu"):
        pass

    @property
    def device(self):
        return self.home


class FromPython(TorchFunctionMode):
    """Move what torch would move to the GPU before it asks any mode, and cast what autocast would cast there."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if name in ("tensor", "as_tensor", "asarray", "new_tensor") and is_gpu(kwargs.get("device")):
            del kwargs["device"]
            made = args[0] if isinstance(args[0], Tensor) and name != "new_tensor" else function(*args, **kwargs)
            return made.to(GPU, kwargs.get("dtype"))
        if name in ("to", "cuda", "new_tensor"):
            args, kwargs = tree_map(lambda x: GPU if not isinstance(x, Tensor) and is_gpu(x) else x, (args, kwargs))
        if name in ("conv2d", "linear") and torch.is_autocast_enabled("cuda"):
            kind = torch.get_autocast_dtype("cuda")
            args, kwargs = tree_map(lambda x: x.to(kind) if isinstance(x, OnGPU) else x, (args, kwargs))
        return function(*args, **kwargs)


class PretendedGPU(TorchDispatchMode):
    """The context in which the GPU is there; `waits` are those of the host so far."""

    def __init__(self):
        super().__init__()
        self.waits: list[Wait] = []
        self.patches = ExitStack()

    def __enter__(self):
        for name, value in CUDA.items():
            self.patches.enter_context(mock.patch(f"torch.cuda.{name}", lambda *_, value=value, **__: value))
        self.patches.enter_context(mock.patch("torch.Generator", Generator))
        self.patches.enter_context(mock.patch.dict(Generator.on_gpu, clear=True))
        self.patches.enter_context(mock.patch("safetensors.torch.load_file", load_file))
        self.patches.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "'pin_memory' argument is set as true")
        self.patches.enter_context(FromPython())
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self.patches.close()

    def waits_in_walks(self):
        """The waits inside a walk, without repetitions."""
        return sorted({f"{wait.what} at {wait.where}" for wait in self.waits if wait.in_walk})

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), function._schema.name
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        there = any(isinstance(x, OnGPU) for x in tensors)
        asked = kwargs.get("device")
        to_gpu = there if asked is None else asked.type in ("cuda", "meta")

        # Complain as CUDA does, and note where the host waits.
        check_devices(name, args, tensors)
        check_generator(name, kwargs.get("generator"), to_gpu)
        for what in waits(name, args, there, to_gpu):
            self.waits.append(Wait(what, place(), in_walk()))

        # Compute on the CPU; a copy between devices is a copy. What was changed in place is given back as it is.
        if asked is not None:
            kwargs["device"] = CPU
        kwargs.pop("pin_memory", None)
        result = function(*tree_map(bare, args), **tree_map(bare, kwargs))
        if name == "aten::_to_copy" and there != to_gpu and shares_memory(result, args[0]):
            result = result.clone()
        given = {id(bare(x)): x for x in tensors}
        return tree_map(lambda x: given.get(id(x)) if id(x) in given else OnGPU(x) if goes(x, to_gpu) else x, result)


def is_gpu(device):
    return isinstance(device, str | torch.device) and torch.device(device).type == "cuda"


def bare(x):
    return x.here if isinstance(x, OnGPU) else x


def goes(x, to_gpu):
    return to_gpu and isinstance(x, Tensor) and not isinstance(x, OnGPU)


def shares_memory(one, other):
    return one.untyped_storage().data_ptr() == bare(other).untyped_storage().data_ptr()


def check_devices(name, args, tensors):
    """Raise WrongDevice for tensors of both devices, except copies, numbers of the CPU, and indices of the CPU."""
    here = [x for x in tensors if not isinstance(x, OnGPU)]
    if name in COPIES or not here or len(here) == len(tensors):
        return
    if name in INDEXING and isinstance(args[0], OnGPU):
        here = [x for x in args[2:] if isinstance(x, Tensor) and not isinstance(x, OnGPU)]  # the values to write
    if any(x.dim() > 0 for x in here) or name in ("aten::cat", "aten::stack"):
        shapes = ", ".join(f"{tuple(x.shape)} on {x.device}" for x in tensors)
        raise WrongDevice(f"Expected all tensors to be on the same device: {name} of {shapes} ({place()})")


def check_generator(name, generator, to_gpu):
    """Raise WrongDevice for a generator of another device than that of the numbers."""
    if generator is not None and (generator._cdata in Generator.on_gpu) != to_gpu:
        numbers, own = (GPU, CPU) if to_gpu else (CPU, GPU)
        raise WrongDevice(f"Expected a generator on {numbers}: that of {name} is on {own} ({place()})")


def waits(name, args, there, to_gpu):
    """Yield what an operation makes the host wait for, if anything."""
    short = name.removeprefix("aten::")
    if there and short == "_local_scalar_dense":
        yield "item"
    if there and short in DEPENDENT:
        yield short
    if there and name in INDEXING:
        indices = [x for x in args[1] if x is not None]
        if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
            yield "boolean index"
        if any(not isinstance(x, OnGPU) for x in indices):
            yield "copy to the GPU"
    if short == "_to_copy" and there != to_gpu:
        yield "copy to the GPU" if to_gpu else "copy to the CPU"
    if short == "copy_" and isinstance(args[0], OnGPU) != isinstance(args[1], OnGPU):
        yield "copy to the GPU" if isinstance(args[0], OnGPU) else "copy to the CPU"


def frames():
    frame = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def in_walk():
    return any(frame.f_code is walk.__code__ for frame in frames())


def place():
    """The innermost line of the project, or of its tests, outside of this file."""
    for frame in frames():
        path = Path(frame.f_code.co_filename)
        if path != Path(__file__) and path.is_relative_to(ROOT) and "site-packages" not in path.parts:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
    return "a library"


real_load_file = safetensors.torch.load_file


def load_file(path, device="cpu"):
    tensors = real_load_file(path)
    return {name: value.to(device) for name, value in tensors.items()}


@contextmanager
def nccl(size=2):
    """Pretend `size` processes with equal tensors: the default group reaches the GPU alone, another one the CPU."""
    gloo = object()

    def check(group, *tensors):
        for x in tensors:
            if isinstance(x, OnGPU) == (group is gloo):
                raise WrongDevice(f"No backend for a collective of a tensor on {x.device} ({place()})")

    def all_reduce(x, group=None):
        check(group, x)
        x.mul_(size)

    def all_gather_into_tensor(rows, x, group=None):
        check(group, rows, x)
        rows.copy_(torch.cat([x] * size))

    with (
        mock.patch("torch.distributed.all_reduce", all_reduce),
        mock.patch("torch.distributed.all_gather_into_tensor", all_gather_into_tensor),
        mock.patch("harness.core.distributed._cpu_groups", [gloo]),
    ):
        yield
