"""What the method's loss is made of."""

import torch.nn.functional as F
from torch import Tensor


def smoothed(labels: Tensor, classes: int, mass: float) -> Tensor:
    """One-hot targets, N x K, of which a mass is spread evenly over all classes."""
    return (1 - mass) * F.one_hot(labels, classes).float() + mass / classes
