"""The pre-activation ResNet-18 of the literature on robustness."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

from harness.models.dm_wrn import ACTIVATIONS


class PreActResNet18(nn.Sequential):
    """Four groups of two blocks (He et al., 2016): images N x `channels` x H x W → N x `classes` logits.

    shortcut: whether projections receive the activated or the raw input. head_norm: whether normalisation and
    activation stand before the head. Names of weights are those of the published checkpoints.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        shortcut: Literal["activated", "raw"],
        head_norm: bool,
        activation: Literal["relu", "leaky_relu", "silu"],
        momentum: float,
    ) -> None:
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], not {momentum}")
        norm, act, inside = partial(nn.BatchNorm2d, momentum=momentum), ACTIVATIONS[activation], 64
        # Each group after the first begins with stride 2.
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=nn.Conv2d(channels, 64, 3, 1, 1, bias=False))
        for group, outside in enumerate((64, 128, 256, 512), start=1):
            stride = 1 if group == 1 else 2
            first = Block(inside, outside, stride, norm, act, shortcut == "raw")
            layers[f"layer{group}"] = nn.Sequential(first, Block(outside, outside, 1, norm, act, shortcut == "raw"))
            inside = outside

        if head_norm:
            layers |= {"bn": norm(512), "act": act()}
        layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "linear": nn.Linear(512, classes)}
        super().__init__(layers)


class Block(nn.Module):
    """Two 3x3 convolutions without bias, the first with the stride. raw: whether projections receive the raw input."""

    def __init__(
        self,
        inside: int,
        outside: int,
        stride: int,
        norm: Callable[[int], nn.Module],
        act: Callable[[], nn.Module],
        raw: bool,
    ) -> None:
        super().__init__()
        self.bn1 = norm(inside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn2 = norm(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.act, self.raw, self.shortcut = act(), raw, nn.Sequential()
        if inside != outside:
            self.shortcut.append(nn.Conv2d(inside, outside, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, N x outside x H/stride x W/stride."""
        active = self.act(self.bn1(x))
        shortcut = self.shortcut(active) if len(self.shortcut) and not self.raw else self.shortcut(x)
        return shortcut + self.conv2(self.act(self.bn2(self.conv1(active))))
