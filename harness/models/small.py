"""A plain convolutional network for small images of any shape."""

from collections import OrderedDict
from typing import Literal

from torch import nn

from harness.models.digits import ACTIVATIONS


class Small(nn.Sequential):
    """3x3 convolutions and a linear layer: `channels` x `sides` → `classes` logits.

    width: of the first convolution, before its stride. strides: of each convolution; a stride of 2 doubles the width.
    norm: batch normalisation after each convolution, or none (as in JEM's networks). momentum: the weight of a new
    batch in the running statistics.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        sides: tuple[int, int],
        width: int,
        strides: tuple[Literal[1, 2], ...],
        norm: Literal["batch", "none"],
        activation: Literal["relu", "leaky_relu", "silu"],
        momentum: float = 0.1,
    ) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], not {momentum}")
        if width < 1 or not strides:
            raise ValueError(f"width must be 1 or more, and strides at least one, not {width} and {list(strides)}")
        inside, outside, (height, across) = channels, width, sides
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, stride in enumerate(strides):
            outside *= stride
            layers[f"conv{i}"] = nn.Conv2d(inside, outside, 3, stride, 1, bias=norm == "none")
            if norm == "batch":
                layers[f"norm{i}"] = nn.BatchNorm2d(outside, momentum=momentum)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
            # A stride of 2 rounds up, as each convolution pads by one pixel.
            inside, height, across = outside, -(-height // stride), -(-across // stride)
        layers["flatten"] = nn.Flatten()
        layers["head"] = nn.Linear(inside * height * across, classes)
        super().__init__(layers)
