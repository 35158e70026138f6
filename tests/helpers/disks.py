"""Failing disks for tests: small, full and read-only ones."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A small in-memory disk at a path that can be filled and emptied, made read-only and writable again."""

    def __init__(self, path: Path) -> None:
        self.path, self.filler = path, path / "filler"

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with self.filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        """Free the space again."""
        self.filler.unlink()

    def protect(self) -> None:
        """Make the disk read-only, also for root."""
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)

    def open(self) -> None:
        """Make the disk writable again."""
        subprocess.run(["mount", "-o", "remount,rw", self.path], check=True)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of `megabytes` MB at a path; skip the test where none can be mounted."""
    path.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", path], stderr=subprocess.DEVNULL
        ).returncode
    ):
        pytest.skip("only root may mount a disk, and not in every container")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
