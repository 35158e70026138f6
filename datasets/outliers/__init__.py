"""One file per source of outliers; to add a source, add a file here and a yaml in configs/outliers."""

import torch

from harness.core.random import derive

STARTS = 1 << 40
"""Synthetic sampling starts are numbered from here, training outliers from 0, so the two are disjoint."""


def numbered(seed: int, kind: str, number: int) -> torch.Generator:
    """The random generator of one synthetic image."""
    return torch.Generator().manual_seed(derive(seed, kind, number))
