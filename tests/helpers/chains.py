"""Nets on which a chain's way is known, and a buffer whose images are told apart."""

import torch
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.walk import Walk

STEP = Walk(steps=1, step=0.5, direction="raw", clamp=False)


def flat_net():
    """Logits that do not depend on the image: a walk without noise stays where it starts."""
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(4, 5)), [0.0], [1.0])
    nn.init.zeros_(model.net[1].weight)
    return model


def tilted_net():
    """Logit y rises by 1 along pixel 0 for every class: a step adds 0.5 to that pixel, whatever the objective."""
    model = flat_net()
    model.net[1].weight.data[:, 0] = 1
    return model


def marked(size):
    """A buffer whose image i holds 10 + i, which no fresh start does."""
    return (10.0 + torch.arange(size)).view(-1, 1, 1, 1).repeat(1, 1, 2, 2)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)
