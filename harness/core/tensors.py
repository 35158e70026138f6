"""Tensors on disk, as safetensors: reading them executes no code."""

from pathlib import Path

import torch
from safetensors import torch as safetensors
from torch import Tensor

from harness.core.files import atomic_write


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Save tensors as safetensors, the exchange format of weights."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def load_tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Load the tensors of a safetensors file; reading it executes no code."""
    return safetensors.load_file(path, device=str(device))
