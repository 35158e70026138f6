"""Wide residual networks of Gowal et al. (2020), Rebuffi et al. (2021) and Wang et al. (2023)."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
}


class DMWRN(nn.Sequential):
    """WRN-`depth`-`widen` in DeepMind's variant: images N x `channels` x H x W → N x `classes` logits.

    It differs from `wrn` in its padding, which is TensorFlow's: a convolution with stride 2 pads below and to the
    right. Names of weights are those of the published checkpoints.
    """

    def __init__(
        self,
        classes: int,
        channels: int,
        depth: int,
        widen: int,
        activation: Literal["relu", "leaky_relu", "silu"],
        momentum: float,
    ) -> None:
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4, that is 10, 16, 22, 28, 34, …; not {depth}")
        if widen < 1:
            raise ValueError(f"widen must be 1 or more, not {widen}")
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], not {momentum}")
        # Three groups of blocks; the second and the third begin with stride 2.
        norm, act = partial(nn.BatchNorm2d, momentum=momentum), ACTIVATIONS[activation]
        groups, inside = nn.Sequential(), 16
        for stride, outside in (1, 16 * widen), (2, 32 * widen), (2, 64 * widen):
            blocks = [Block(inside, outside, stride, norm, act)]
            blocks += [Block(outside, outside, 1, norm, act) for _ in range((depth - 4) // 6 - 1)]
            groups.append(nn.Sequential(OrderedDict(block=nn.Sequential(*blocks))))
            inside = outside

        super().__init__(
            OrderedDict(
                init_conv=nn.Conv2d(channels, 16, 3, 1, 1, bias=False),
                layer=groups,
                batchnorm=norm(inside),
                act=act(),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                logits=nn.Linear(inside, classes),
            )
        )
        self.apply(_initialise)


class Block(nn.Module):
    """Two 3x3 convolutions without bias, the first with the stride; where widths differ, both paths are activated."""

    def __init__(
        self, inside: int, outside: int, stride: int, norm: Callable[[int], nn.Module], act: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.batchnorm_0 = norm(inside)
        self.pad = nn.ZeroPad2d((1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1))
        self.conv_0 = nn.Conv2d(inside, outside, 3, stride, bias=False)
        self.batchnorm_1 = norm(outside)
        self.conv_1 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.act = act()
        self.shortcut = None if inside == outside else nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, N x outside x H/stride x W/stride."""
        active = self.act(self.batchnorm_0(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv_1(self.act(self.batchnorm_1(self.conv_0(self.pad(active)))))


def _initialise(module: nn.Module) -> None:
    """He initialisation by fan-out."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
