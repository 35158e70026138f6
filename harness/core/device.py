"""Which device a run computes on, and with how many threads."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from harness.core.errors import UserError, first_line


def choose_device(name: str) -> torch.device:
    """The device of a name; auto is the first GPU where there is one, else the CPU."""
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
    """True fp32 inside, without TF32, which moves the decisions of attacks; and the same algorithms each time."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def peak_memory_mb(device: torch.device) -> int:
    """The most memory used so far: of the device where it is one, else of this process, in MB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 10**6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000


Precision = Literal["fp32", "tf32", "bf16"]
"""tf32: fp32, but products on NVIDIA's GPUs have ten bits; on other devices the same as fp32. bf16: products in eight
bits, and images in channels-last order, which is faster then; weights, sums, logits and losses stay fp32."""


@contextmanager
def computing(precision: Precision, device: torch.device) -> Iterator[None]:
    """Nets in this precision inside; it holds for what is begun there, also where another one holds outside."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn  # torch's own hints lack the flag
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision != "fp32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
