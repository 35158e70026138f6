"""Nets with known walks, and a buffer whose images can be told apart."""

import torch
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.walk import Walk

STEP = Walk(steps=1, step=0.5, direction="raw", clamp=False)


def flat_net():
    """A net whose logits do not depend on the image: a walk without noise stays at its start."""
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(4, 5)), [0.0], [1.0])
    nn.init.zeros_(model.net[1].weight)
    return model


def tilted_net():
    """A net whose logits all rise by 1 along pixel 0: a step adds 0.5 to that pixel for any objective."""
    model = flat_net()
    model.net[1].weight.data[:, 0] = 1
    return model


def marked(size):
    """A buffer whose image i is filled with 10 + i, a value that no fresh start has."""
    return (10.0 + torch.arange(size)).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)
