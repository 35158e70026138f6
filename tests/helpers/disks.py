"""Disks that fail, for tests: small ones, full ones, and ones that cannot be written to."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class Disk:
    """A small disk in memory at a path, to be filled and emptied, protected and opened again."""

    def __init__(self, path: Path) -> None:
        self.path, self.filler = path, path / "filler"

    def fill(self) -> None:
        """Leave not a byte of room."""
        with self.filler.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        """Make room again."""
        self.filler.unlink()

    def protect(self) -> None:
        """Let nobody write, root included."""
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)

    def open(self) -> None:
        """Let everybody write again."""
        subprocess.run(["mount", "-o", "remount,rw", self.path], check=True)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """A disk of so many megabytes at a path; the test is skipped where none can be mounted."""
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
