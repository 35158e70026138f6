"""ResNet-50 with bottlenecks four times as wide."""

from typing import Any

from timm.models.resnet import Bottleneck, ResNet


class WRN504(ResNet):
    """WRN-50-4: timm's ResNet-50 with inner widths 256, 512, 1024, 2048; weights have torchvision's names."""

    def __init__(self, classes: int, channels: int) -> None:
        block: Any = Bottleneck  # timm's type hint asks for an instance, its code for the class
        super().__init__(block, (3, 4, 6, 3), num_classes=classes, in_chans=channels, base_width=256)
