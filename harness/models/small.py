"""A plain convolutional network for small images of any shape."""

from collections import OrderedDict
from typing import Literal

from torch import nn

from harness.models.digits import ACTIVATIONS


class Small(nn.Sequential):
    """Five 3x3 convolutions, two with stride 2, and a linear layer: `channels` x `sides` → `classes` logits.

    width: of the first convolution; the others are 2, 2, 4 and 4 times as wide. norm: batch normalisation after each
    convolution, or none (as in JEM's networks). momentum: the weight of a new batch in the running statistics.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        sides: tuple[int, int],
        width: int,
        norm: Literal["batch", "none"],
        activation: Literal["relu", "leaky_relu", "silu"],
        momentum: float = 0.1,
    ) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], not {momentum}")
        if width < 1:
            raise ValueError(f"width must be 1 or more, not {width}")
        # Output width and stride of each convolution.
        plan = [(width, 1), (2 * width, 2), (2 * width, 1), (4 * width, 2), (4 * width, 1)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inside, (height, across) = channels, sides
        for i, (outside, stride) in enumerate(plan):
            layers[f"conv{i}"] = nn.Conv2d(inside, outside, 3, stride, 1, bias=norm == "none")
            if norm == "batch":
                layers[f"norm{i}"] = nn.BatchNorm2d(outside, momentum=momentum)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
            # A stride of 2 rounds up, as each convolution pads by one pixel.
            inside, height, across = outside, -(-height // stride), -(-across // stride)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(inside * height * across, classes)
        super().__init__(layers)
