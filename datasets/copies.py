"""Find files of equal content."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from harness.core.files import sha256

HEAD = 4096
"""Number of bytes at the beginning of a file that tell most files of one size apart."""


def groups_of_copies(files: Iterable[Path], wanted: Callable[[list[Path]], bool]) -> list[list[Path]]:
    """The groups of files of equal content, of one or more, that are wanted; in the order of their first files.

    Files are compared by size, then by their first bytes, then whole; a group that is not wanted is compared no
    further, so no part of such a group may be wanted. Empty and unreadable files are left out.
    """
    groups = [list(files)]
    for key in (_size, _head, sha256):
        groups = [part for group in groups for part in _split(group, key) if wanted(part)]
    return groups


def _split(files: list[Path], key: Callable[[Path], object]) -> list[list[Path]]:
    parts: dict[object, list[Path]] = defaultdict(list)
    for file in files:
        try:
            parts[key(file)].append(file)
        except OSError:  # told when the image is read, unless it is one of those to skip
            continue
    return [part for value, part in parts.items() if value != 0]  # 0 is the size of empty files


def _size(file: Path) -> int:
    return file.stat().st_size


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.sha256(stream.read(HEAD)).digest()
