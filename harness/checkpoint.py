"""Checkpoints: written atomically, verified on loading, the newest sound one wins."""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor

from harness.files import replacing

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints kept in a folder: the newest, and the one before it should the newest be damaged."""


def save(folder: Path, step: int, content: dict[str, Any]) -> None:
    """Save a checkpoint as <step>-<sha256>.pt and remove all but the newest two.

    The checksum in the name makes file and checksum one atomic rename.
    """
    stream = io.BytesIO()
    torch.save(content, stream)
    checksum = hashlib.sha256(stream.getbuffer()).hexdigest()[:16]
    with replacing(folder / f"{step:010d}-{checksum}.pt") as temporary:
        temporary.write_bytes(stream.getbuffer())
    for old in saved(folder)[:-KEPT]:
        old.unlink(missing_ok=True)


def saved(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob("[0-9]*-*.pt"))


def load_newest(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint whose checksum holds; None if there is none. Damaged ones are named in a warning."""
    for path in reversed(saved(folder)):
        if path.stem.split("-")[1] == _checksum(path):
            return torch.load(path, map_location=device, weights_only=True)
        log.warning("Checkpoint %s is damaged: going on from the one before it.", path)
        path.unlink()
    return None


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Save tensors as safetensors, the form in which weights are exchanged."""
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()}))


def load_tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    """Tensors of a safetensors file; reading it executes nothing."""
    return safetensors.load_file(path, device=str(device))


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
