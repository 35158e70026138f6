"""Pieces of an evaluation on disk: a JSON file marks a piece as done, and names the digests of the arrays beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.errors import Damaged
from harness.core.files import atomic_write, read_checked, sha256, write_checked

Part = dict[str, Any]
"""The output of one shard of a metric: JSON-compatible values, and arrays."""

NOTES = ("arrays", "code")
"""Keys that a mark has beside a part's own: the sha256 of the file of arrays, and the code that made the piece."""


def write_part(path: Path, part: Part, code: Mapping[str, str]) -> None:
    """Write a part atomically, arrays first, as the JSON file marks it as done."""
    arrays = {key: value for key, value in part.items() if isinstance(value, np.ndarray)}
    if arrays:
        with atomic_write(path.with_suffix(".npz")) as temporary:
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    values = {key: value for key, value in part.items() if key not in arrays}
    write_mark(path, code, path.with_suffix(".npz") if arrays else None, values)


def read_part(path: Path) -> Part:
    """Read a stored part, including its arrays; Damaged if they are not what was written."""
    part = read_mark(path)
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as arrays:
            part |= dict(arrays)
    return {key: value for key, value in part.items() if key not in NOTES}


def write_mark(path: Path, code: Mapping[str, str], arrays: Path | None, values: Mapping[str, Any]) -> None:
    """Mark a piece as done: its values, the code that made it, and the digest of its file of arrays, if it has one."""
    digests = {arrays.name: sha256(arrays)} if arrays else {}
    write_checked(path, {**values, "arrays": digests, "code": dict(code)})


def read_mark(path: Path) -> dict[str, Any]:
    """The content of a mark; Damaged if it, or the file of arrays that it names, is not what was written."""
    content = read_checked(path)
    for name, digest in content.get("arrays", {}).items():
        arrays = path.with_name(name)
        if not arrays.exists():
            raise Damaged(arrays, f"it is missing, though {path.name} says that it was written")
        if sha256(arrays) != digest:
            raise Damaged(arrays, f"it does not have the sha256 {digest[:12]}… that {path.name} names")
    return content
