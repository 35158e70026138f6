"""The device that a run computes on, and its numerical precision."""

import ctypes
import gc
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from harness.core.errors import LONGEST, UserError, cut, first_line

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt, as in malloc.h: free memory above which it is given back, size of separate blocks."""


def choose_device(name: str) -> torch.device:
    """The device with this name; auto is the first GPU if there is one, else the CPU. UserError if it is unusable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.index is not None and device.type == "cuda" and torch.cuda.is_available():
            torch.cuda.set_device(device)  # before any other call, which would open the first GPU as well
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("its tensors have no values")
        if device.type == "cpu" and device.index:
            raise RuntimeError("all CPUs are one device")
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device={cut(name, LONGEST)} cannot be used here ({cut(first_line(error), 200)}). Try device=cpu."
        ) from None
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Use true fp32 (TF32 changes the decisions of attacks) and deterministic cuDNN algorithms within the context."""
    cudnn: Any = torch.backends.cudnn  # Any, because torch's type hints lack the flags
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with _tf32(False):
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones, where its C library is glibc.

    By default glibc gives most of it back at once, and fetches it again page by page: up to half of the time of a small
    net on a CPU (benchmarks/freed_memory.py). Tensors of more than 32 MB are still given back.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the most that glibc takes
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


def release_memory(device: torch.device) -> None:
    """Return to the GPU what torch keeps of it for tensors to come, so that other processes can have it."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mb` count from here on; on a CPU it always counts from the beginning of the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory in MB: of the GPU since `reset_peak_memory` for a CUDA device, else of this process since it began.

    An operating system does not reset the peak of a process.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 10**6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


Precision = Literal["fp32", "tf32", "bf16"]
"""fp32: no reduced precision. tf32: matrix products on NVIDIA GPUs use ten mantissa bits; on other devices it equals
fp32. bf16: products use eight bits, and images the channels-last order, which is faster in bf16; weights, sums, logits
and losses stay fp32. On GPUs weights take the channels-last order, too, where nets learn in tf32 or bf16."""


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute networks in this precision within the context; an inner context overrides an outer one."""
    with _tf32(precision != "fp32"), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


def precision_in_use(device: torch.device) -> Precision:
    """The precision that the innermost `computing` asks for; fp32 outside of it."""
    if torch.is_autocast_enabled(device.type):
        return "bf16"
    return "tf32" if _read(*_switches()[-1]) in (True, "tf32") else "fp32"


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 in matrix products, convolutions and recurrent layers within the context, or forbid it.

    torch has two interfaces to these switches, and reading the old one raises where it disagrees with the new one. So
    both are set, for the old one is still read by torch itself; on leaving, both are as they were.
    """
    before = [(part, name, _read(part, name)) for part, name in _switches()]
    for part, name, _ in before:
        setattr(part, name, allowed if name == OLD else "tf32" if allowed else "ieee")
    try:
        yield
    finally:
        for part, name, value in before:
            if value is not None:
                setattr(part, name, value)


OLD, NEW = "allow_tf32", "fp32_precision"
"""The names of the switches in torch's two interfaces; NEW came with torch 2.9."""


def _switches() -> list[tuple[Any, str]]:
    """Each part of torch that has a switch for TF32, and the switch's name; that of matrix products is the last.

    The old ones come first, because setting them also sets the new ones.
    """
    cudnn: Any = torch.backends.cudnn  # Any, because torch's type hints lack the parts
    matmul = torch.backends.cuda.matmul
    new = [cudnn.conv, cudnn.rnn, matmul] if hasattr(torch.backends, NEW) else []
    return [(cudnn, OLD), (matmul, OLD), *((part, NEW) for part in new)]


def _read(part: Any, name: str) -> bool | str | None:  # noqa: ANN401 - a module or an object of torch's
    """The value of a switch; None for an old one that disagrees with a new one, which torch refuses to read."""
    try:
        return getattr(part, name)
    except RuntimeError:
        return None
