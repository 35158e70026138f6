"""A small convolutional network for 8x8 images."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
}


class Digits(nn.Sequential):
    """Four 3x3 convolutions, one with stride 2, and a linear layer: `channels` x 8 x 8 → `classes` logits.

    norm: batch normalisation after each convolution, or none (as in JEM's networks). momentum: the weight of a new
    batch in the running statistics.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        width: int,
        norm: Literal["batch", "none"],
        activation: Literal["relu", "leaky_relu", "silu"],
        momentum: float = 0.1,
    ) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], not {momentum}")
        if width < 1:
            raise ValueError(f"width must be 1 or more, not {width}")
        # Input width, output width and stride of each convolution.
        plan = [(channels, width, 1), (width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, (inside, outside, stride) in enumerate(plan):
            layers[f"conv{i}"] = nn.Conv2d(inside, outside, 3, stride, 1, bias=norm == "none")
            if norm == "batch":
                layers[f"norm{i}"] = nn.BatchNorm2d(outside, momentum=momentum)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(2 * width * 16, classes)
        super().__init__(layers)
