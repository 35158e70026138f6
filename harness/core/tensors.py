"""Tensors on disk, as safetensors: reading them executes no code, and a changed bit is found."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from harness.core.errors import Damaged
from harness.core.files import atomic_write


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> str:
    """Save tensors as safetensors, the exchange format of weights; the file holds their digest, which is returned."""
    copies = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digest = digest_of(copies)
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.save(copies, {"sha256": digest}))
    return digest


def load_tensors(path: Path, device: torch.device, expected: str = "") -> dict[str, Tensor]:
    """Load the tensors of a safetensors file; reading it executes no code. Damaged if they are not those written.

    expected: the digest that another file names, if any. Files of other programs hold no digest and are not checked.
    """
    try:
        content = path.read_bytes()
        tensors = safetensors.load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, OSError, ValueError) as error:
        raise Damaged(path, error) from None
    named = header.get("__metadata__", {}).get("sha256", "")
    if named != (expected or named) or (named and named != digest_of(tensors)):
        raise Damaged(
            path, f"its tensors do not have the sha256 {(expected or named)[:12]}… that they were written with"
        )
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def digest_of(tensors: dict[str, Tensor]) -> str:
    """The sha256 of tensors' names, types, shapes and values; they must be contiguous and on the CPU."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
