"""ConvNeXt with a convolutional stem, the architecture of robust ImageNet classifiers."""

from itertools import pairwise
from typing import Literal

from timm.layers.norm import LayerNorm2d
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn

STEMS: dict[str, tuple[int, ...]] = {"small": (48, 96), "base": (64, 96, 128), "large": (96, 144, 192)}
"""The widths of each stem's convolutions; the last is the body's first width."""


class ConvNeXtCvSt(ConvNeXt):
    """timm's ConvNeXt with its 4x4 patches replaced by 3x3 convolutions (Singh, Croce and Hein, 2023)."""

    def __init__(self, classes: int, channels: int, size: Literal["small", "base", "large"]) -> None:
        width = STEMS[size][-1]
        dims = (width, 2 * width, 4 * width, 8 * width)
        super().__init__(in_chans=channels, num_classes=classes, depths=(3, 3, 27, 3), dims=dims)
        self.stem = ConvStem(channels, STEMS[size])


class ConvStem(nn.Module):
    """3x3 convolutions, the first two with stride 2, each followed by LayerNorm over channels and GELU."""

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (inside, outside) in enumerate(pairwise((channels, *widths))):
            conv = nn.Conv2d(inside, outside, 3, stride=2 if i < 2 else 1, padding=1)
            layers += [conv, LayerNorm2d(outside, eps=1e-6), nn.GELU()]
        self.stem = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Features, N x width x H/4 x W/4, of images x."""
        return self.stem(x)
