"""Checkpoints: written atomically, verified on loading, the newest sound one wins."""

import hashlib
import io
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from harness.core.distributed import ALONE, World
from harness.core.files import atomic_write

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
    with atomic_write(folder / f"{step:010d}-{checksum}.pt") as temporary:
        temporary.write_bytes(stream.getbuffer())
    for old in list_checkpoints(folder)[:-KEPT]:
        old.unlink(missing_ok=True)


class Checkpoints:
    """The checkpoints of a stage's folder, written beside the training, one at a time.

    Training waits only while the content is copied. As a context, it is left when the last one is written. Rank 0
    reads the disk first and writes; every process calls these methods.
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
        """The content of the newest sound checkpoint; None if there is none."""
        path = self.world.on_main(lambda: newest(self.folder))
        return None if path is None else load(path)

    def begin(self, step: int, content: dict[str, Any]) -> None:
        """Begin to write a checkpoint of the content as it is now; UserError if the last one could not be written."""
        if self.world.rank == 0:
            self.wait()
            self.writing = self.thread.submit(save, self.folder, step, copy_to_cpu(content))

    def wait(self) -> None:
        """Wait until the last one is written; UserError if it could not be."""
        if self.writing is not None:
            self.writing.result()
            self.writing = None

    def remove(self) -> None:
        """Remove all of them: the stage is done."""
        for path in list_checkpoints(self.folder):
            path.unlink()


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(folder.glob("[0-9]*-*.pt"))


def newest(folder: Path) -> Path | None:
    """The newest checkpoint whose checksum holds; None if there is none. Damaged ones are named in a warning."""
    for path in reversed(list_checkpoints(folder)):
        if path.stem.split("-")[1] == _checksum(path):
            return path
        log.warning("Checkpoint %s is damaged: going on from the one before it.", path)
        path.unlink()
    return None


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, in the memory of the CPU; reading it executes nothing."""
    return torch.load(path, map_location="cpu", weights_only=True)


def copy_to_cpu(content: Any) -> Any:  # noqa: ANN401 - whatever a checkpoint holds
    """A copy, in the memory of the CPU, that training does not change."""
    if isinstance(content, Tensor):
        return content.detach().to("cpu", copy=True)
    if isinstance(content, dict):
        return type(content)((key, copy_to_cpu(value)) for key, value in content.items())
    if isinstance(content, list | tuple):
        return type(content)(copy_to_cpu(value) for value in content)
    return content


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
