"""One file per source of outliers; a file here and a yaml in configs/outliers is all that a source needs."""

import torch

from harness.core.random import derive

STARTS = 1 << 40
"""Made-up sampling starts are numbered from here, training outliers from 0: the two never meet."""


def numbered(seed: int, kind: str, number: int) -> torch.Generator:
    """The generator of one made-up image."""
    return torch.Generator().manual_seed(derive(seed, kind, number))
