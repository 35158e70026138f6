"""Files on disk are what they are called: the originals, by their published checksums."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from harness.core.errors import UserError

ACCEPT = "Or accept these files with data.check=false, which the leaderboard says in a footnote."
"""The way on for a private variant of a dataset."""


def require_originals(name: str, checksums: Mapping[Path, tuple[str, ...]], remedy: str) -> None:
    """Raise UserError unless each file has one of its md5s; `remedy` says how to get the originals."""
    names = {md5: file.name for file, known in checksums.items() for md5 in known}
    for file, known in checksums.items():
        status = file.stat()
        found = _md5(file, status.st_size, status.st_mtime_ns)
        if found not in known:
            content = f"is a copy of {names[found]}" if found in names else f"has the md5 {found}, not {known[0]}"
            raise UserError(f"{file} is not the original of {name}: it {content}. {remedy} {ACCEPT}")


@lru_cache(maxsize=64)
def _md5(file: Path, size: int, time: int) -> str:
    """The md5 of a file; read once per process unless its size or time of change differ."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
