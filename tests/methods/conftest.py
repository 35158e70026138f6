"""Fixtures shared by the tests of losses: a batch with three streams, and the net in NumPy."""

import by_hand
import pytest
import torch
from small_stages import B

from harness.core.method import Batch


@pytest.fixture
def batch():
    """A batch of three different streams; the labels of `real` and `labelled` differ, and every class occurs."""
    generator = torch.Generator().manual_seed(5)
    streams = ("labelled", "real", "outliers")
    images = {s: torch.rand(B, 1, 4, 4, dtype=torch.double, generator=generator) for s in streams}
    labels = {
        "labelled": torch.tensor([0, 1, 2, 3, 4, 0]),
        "real": torch.tensor([3, 4, 0, 1, 2, 2]),
        "outliers": torch.full((B,), -1),
    }
    return Batch(images, labels)


@pytest.fixture
def small(net):
    """The net, re-implemented in NumPy."""
    return by_hand.Net(net)
