"""Parts of an evaluation on disk: a JSON file marks one as done, its arrays lie beside it."""

from pathlib import Path
from typing import Any

import numpy as np

from harness.core.files import atomic_write, read_json, write_json

Part = dict[str, Any]
"""What one shard of a metric gives: what JSON can hold, and arrays."""


def write_part(path: Path, part: Part) -> None:
    """Store a part, its arrays first: there whole or not at all."""
    arrays = {key: value for key, value in part.items() if isinstance(value, np.ndarray)}
    if arrays:
        with atomic_write(path.with_suffix(".npz")) as temporary:
            np.savez(temporary, **arrays)  # pyright: ignore[reportArgumentType]
    write_json(path, {key: value for key, value in part.items() if key not in arrays})


def read_part(path: Path) -> Part:
    """A stored part, its arrays included."""
    part = read_json(path)
    if path.with_suffix(".npz").exists():
        with np.load(path.with_suffix(".npz")) as arrays:
            part |= dict(arrays)
    return part
