"""Wide residual networks, in the two variants used for hybrid models."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

Norm = Callable[[int], nn.Module]


class WRN(nn.Sequential):
    """WRN-`depth`-`widen` (Zagoruyko and Komodakis, 2016): images N x `channels` x H x W → N x `classes` logits.

    variant: standard as in TRADES, RATIO and DAT, or jem as in JEM and JEM++; weight names match the checkpoints of
    each. norm: batch, with PyTorch's `momentum`, or none. Pooling covers the whole feature map: 8 x 8 for side 32.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        depth: int,
        widen: int,
        variant: Literal["standard", "jem"],
        norm: Literal["batch", "none"],
        momentum: float,
    ) -> None:
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4, that is 10, 16, 22, 28, 34, …; not {depth}")
        if widen < 1:
            raise ValueError(f"widen must be 1 or more, not {widen}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be between 0 and 1, not {momentum}")
        # Choose the normalisation and the layers of the variant.
        make = partial(nn.BatchNorm2d, momentum=momentum) if norm == "batch" else nn.Identity
        layers = _standard if variant == "standard" else _jem
        super().__init__(layers(classes, channels, (depth - 4) // 6, widen, make))
        if variant == "standard":
            self.apply(_initialise)


def _standard(classes: int, channels: int, blocks: int, widen: int, norm: Norm) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=_conv3(channels, 16, 1, bias=False))
    for i, group in enumerate(_groups(StandardBlock, blocks, widen, norm), start=1):
        layers[f"block{i}"] = nn.Sequential(OrderedDict(layer=group))
    return layers | _head(64 * widen, norm, nn.ReLU(), "fc", classes)


def _jem(classes: int, channels: int, blocks: int, widen: int, norm: Norm) -> OrderedDict[str, nn.Module]:
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=_conv3(channels, 16, 1, bias=True))
    for i, group in enumerate(_groups(JEMBlock, blocks, widen, norm), start=1):
        layers[f"layer{i}"] = group
    return layers | _head(64 * widen, norm, nn.LeakyReLU(0.2), "class_output", classes)


class StandardBlock(nn.Module):
    """Two 3x3 convolutions without bias, the first with the stride; a projection receives the activated input."""

    def __init__(self, inside: int, outside: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.bn1 = norm(inside)
        self.conv1 = _conv3(inside, outside, stride, bias=False)
        self.bn2 = norm(outside)
        self.conv2 = _conv3(outside, outside, 1, bias=False)
        self.convShortcut = None if inside == outside else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, N x outside x H/stride x W/stride."""
        active = self.bn1(x).relu()
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        return shortcut + self.conv2(self.bn2(self.conv1(active)).relu())


class JEMBlock(nn.Module):
    """Two 3x3 convolutions with bias, the second with the stride; a projection receives the raw input."""

    def __init__(self, inside: int, outside: int, stride: int, norm: Norm) -> None:
        super().__init__()
        self.bn1 = norm(inside)
        self.conv1 = _conv3(inside, outside, 1, bias=True)
        self.bn2 = norm(outside)
        self.conv2 = _conv3(outside, outside, stride, bias=True)
        self.act = nn.LeakyReLU(0.2)
        self.shortcut = nn.Sequential()
        if inside != outside:
            self.shortcut.append(nn.Conv2d(inside, outside, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, N x outside x H/stride x W/stride."""
        return self.shortcut(x) + self.conv2(self.act(self.bn2(self.conv1(self.act(self.bn1(x))))))


def _groups(
    block: Callable[[int, int, int, Norm], nn.Module], blocks: int, widen: int, norm: Norm
) -> list[nn.Sequential]:
    """Three groups of blocks; the second and the third begin with stride 2."""
    groups, inside = [], 16
    for stride, outside in (1, 16 * widen), (2, 32 * widen), (2, 64 * widen):
        rest = [block(outside, outside, 1, norm) for _ in range(blocks - 1)]
        groups.append(nn.Sequential(block(inside, outside, stride, norm), *rest))
        inside = outside
    return groups


def _head(width: int, norm: Norm, activation: nn.Module, name: str, classes: int) -> dict[str, nn.Module]:
    pool, linear = nn.AdaptiveAvgPool2d(1), nn.Linear(width, classes)
    return {"bn1": norm(width), "act": activation, "pool": pool, "flatten": nn.Flatten(), name: linear}


def _conv3(inside: int, outside: int, stride: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=bias)


def _initialise(module: nn.Module) -> None:
    """He initialisation by fan-out, as in TRADES."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
