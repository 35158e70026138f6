"""Nearest neighbours by Euclidean distance, without ever holding all distances in memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 2_000
"""Number of rows and of columns of the largest matrix of distances."""


def nearest(points: Tensor, among: Tensor, k: int, skip: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The distances, N x k and ascending, from points, N x D, to the k nearest of M x D others; and their places.

    skip: for each point one place, N, that does not count, as its own where the points are among the others.
    """
    rows = [_nearest(part, among, k, skip, first) for first, part in blocks(points)]
    distances, places = zip(*rows, strict=True)
    return torch.cat(distances), torch.cat(places)


def _nearest(points: Tensor, among: Tensor, k: int, skip: Tensor | None, first: int) -> tuple[Tensor, Tensor]:
    best, at = points.new_empty(len(points), 0, dtype=torch.double), torch.empty(len(points), 0, dtype=torch.long)
    for start, part in blocks(among):
        found = distances(points, part)
        places = torch.arange(start, start + len(part)).expand(len(points), -1)
        if skip is not None:
            found[places == skip[first : first + len(points), None]] = torch.inf
        # Keep the k nearest of this block and of those before it.
        best, at = torch.cat([best, found], 1), torch.cat([at, places], 1)
        best, order = best.topk(min(k, best.shape[1]), largest=False)
        at = at.gather(1, order)
    return best, at


def distances(points: Tensor, others: Tensor) -> Tensor:
    """All distances, N x M in float64; those of 8-bit pixels are exact up to the root, whatever the order of sums."""
    return torch.cdist(points.flatten(1).double(), others.flatten(1).double(), compute_mode="use_mm_for_euclid_dist")


def blocks(points: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The points in blocks of BLOCK, each with the place of its first."""
    for first in range(0, len(points), BLOCK):
        yield first, points[first : first + BLOCK]
