"""Tensors on disk, as safetensors: reading them executes nothing."""

from pathlib import Path

import torch
from safetensors import torch as safetensors
from torch import Tensor

from harness.core.files import atomic_write


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Save tensors as safetensors, the form in which weights are exchanged."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def load_tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Tensors of a safetensors file; reading it executes nothing."""
    return safetensors.load_file(path, device=str(device))
