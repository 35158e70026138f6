"""In which numbers a net computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

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
