"""Draws from class Gaussians have the bits of draws made class by class, and the host reads their device once."""

import pytest
import torch
from counting import Reads

from harness.methods.jempp import class_gaussians, gaussian


def class_by_class(gaussians, classes, rng):
    """Each class's rows of the same noise, one class after the other."""
    means, roots = gaussians.values()
    noise = torch.randn(len(classes), means.shape[1], generator=rng)
    drawn = torch.full_like(noise, torch.nan)
    for c in set(classes.tolist()):
        rows = [row for row, one in enumerate(classes.tolist()) if one == c]
        drawn[rows] = means[c] + noise[rows] @ roots[c].T
    return drawn


@pytest.mark.parametrize("classes", [[], [3], [7, 7, 7], [9, 0, 9, 2, 0, 9, 5], list(range(10)) * 20])
def test_the_same_bits(classes, digits):
    gaussians, classes = class_gaussians(digits), torch.tensor(classes, dtype=torch.int64)
    expected = class_by_class(gaussians, classes, torch.Generator().manual_seed(0))
    with Reads([]) as reads:
        drawn = gaussian(gaussians, classes, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, expected) and drawn.shape == (len(classes), 64)
    assert reads.count == 1
