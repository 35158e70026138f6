"""Parts of an evaluation on disk: a JSON file marks a part as done; its arrays are in an .npz file next to it."""

from pathlib import Path
from typing import Any

import numpy as np

from harness.core.files import atomic_write, read_json, write_json

Part = dict[str, Any]
"""The output of one shard of a metric: JSON-compatible values, and arrays."""


def write_part(path: Path, part: Part) -> None:
    """Write a part atomically, arrays first, as the JSON file marks it as done."""
    arrays = {key: value for key, value in part.items() if isinstance(value, np.ndarray)}
    if arrays:
        with atomic_write(path.with_suffix(".npz")) as temporary:
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    write_json(path, {key: value for key, value in part.items() if key not in arrays})


def read_part(path: Path) -> Part:
    """Read a stored part, including its arrays."""
    part = read_json(path)
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as arrays:
            part |= dict(arrays)
    return part
