"""The device that a run computes on, and its numerical precision."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from harness.core.errors import UserError, first_line


def choose_device(name: str) -> torch.device:
    """The device with this name; auto is the first GPU if there is one, else the CPU. UserError if it is unusable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device={name} cannot be used here ({first_line(error)}). Try device=cpu.") from None
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Use true fp32 (TF32 changes the decisions of attacks) and deterministic cuDNN algorithms within the context."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def peak_memory_mb(device: torch.device) -> int:
    """Peak memory so far in MB: of the GPU for a CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 10**6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


Precision = Literal["fp32", "tf32", "bf16"]
"""fp32: no reduced precision. tf32: matrix products on NVIDIA GPUs use ten mantissa bits; on other devices it equals
fp32. bf16: products use eight bits, and images the channels-last order, which is faster in bf16; weights, sums, logits
and losses stay fp32."""


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute networks in this precision within the context; an inner context overrides an outer one."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn  # Any, because torch's type hints lack the flag
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision != "fp32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
