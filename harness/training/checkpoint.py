"""Checkpoints: written atomically, verified when loaded; the newest undamaged one is used."""

import hashlib
import io
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from torch import Tensor

from harness.core.distributed import ALONE, World
from harness.core.files import atomic_write, sha256

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints kept in a folder: the newest, and the one before in case the newest is damaged."""


def save(folder: Path, step: int, content: dict[str, Any]) -> None:
    """Save a checkpoint as <step>-<sha256>.pt, and remove all but the newest two.

    With the checksum in the name, one atomic rename publishes both file and checksum.
    """
    stream = io.BytesIO()
    torch.save(content, stream)
    checksum = hashlib.sha256(stream.getbuffer()).hexdigest()[:16]
    with atomic_write(folder / f"{step:010d}-{checksum}.pt") as temporary:
        temporary.write_bytes(stream.getbuffer())
    for old in list_checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)


class Checkpoints:
    """The checkpoints of a stage's folder, written by a background thread, one at a time.

    Training waits only while the content is copied to the CPU. As a context manager, it waits at exit until the last
    checkpoint is written. `newest` is collective: every rank calls it. The other methods act on rank 0 alone.
    """

    def __init__(self, folder: Path, world: World = ALONE) -> None:
        self.folder, self.world = folder, world
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()

    def newest(self) -> dict[str, Any] | None:
        """The content of the newest undamaged checkpoint; None if there is none."""
        path = self.world.on_main(lambda: newest(self.folder))
        return None if path is None else load(path)

    def begin(self, step: int, content: dict[str, Any]) -> None:
        """Start to write a checkpoint of the present content; UserError if the previous one could not be written."""
        if self.world.rank == 0:
            self.wait()
            self.writing = self.thread.submit(save, self.folder, step, copy_to_cpu(content))

    def wait(self) -> None:
        """Wait until the last checkpoint is written; UserError if that failed."""
        if self.writing is not None:
            self.writing.result()
            self.writing = None

    def remove(self) -> None:
        """Remove all checkpoints, once the stage is done."""
        for path in list_checkpoints(self.folder):
            path.unlink()


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob("[0-9]*-*.pt"))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint with a correct checksum; None if there is none. Deletes damaged ones, with a warning."""
    for path in reversed(list_checkpoints(folder)):
        if path.stem.split("-")[1] == _checksum(path):
            return path
        log.warning("Checkpoint %s is damaged: going on from the one before it.", path)
        path.unlink()
    return None


def load(path: Path) -> dict[str, Any]:
    """Load a checkpoint's content onto the CPU, without executing code in it."""
    return torch.load(path, map_location="cpu", weights_only=True)


def peek(folder: Path) -> dict[str, Any]:
    """The content of the newest checkpoint, its tensors not yet read; empty if there is none that can be opened."""
    for path in reversed(list_checkpoints(folder)):
        with suppress(RuntimeError, OSError, ValueError, EOFError, UnpicklingError):  # damage, which `newest` handles
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return {}


def copy_to_cpu(content: Any) -> Any:  # noqa: ANN401 - whatever a checkpoint holds
    """Copy a checkpoint's content to the CPU, so that training does not change it."""
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return type(content)((key, copy_to_cpu(value)) for key, value in content.items())
    if isinstance(content, list | tuple):
        return type(content)(copy_to_cpu(value) for value in content)
    return content


def _checksum(path: Path) -> str:
    return sha256(path)[:16]
