"""DINOv2's features; distances in them match human judgement better than in Inception's (Stein et al. 2023)."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn
from torch_fidelity.registry import register_feature_extractor
from torchvision.transforms.functional import normalize

from harness.core.dataset import Dataset
from harness.evaluation.features import Source
from harness.evaluation.features.download import fetch, hub_file
from harness.evaluation.features.vit import LAYER, ViTFeatures

NAME = "dinov2-vit-l-14-timm"

URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class DINOv2Features(ViTFeatures):
    """The class token of the ViT-L/14 for uint8 images, N x 3 x H x W, resized by bicubic interpolation."""

    architecture = "vit_large_patch14_dinov2"
    side = 224  # as in the paper's own evaluation

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The class token."""
        x = nn.functional.interpolate(input.float() / 255, (self.side,) * 2, mode="bicubic", antialias=True).clamp(0, 1)
        return (self.net(normalize(x, MEAN, STD)),)


class DINOv2(Source):
    """1,024 features of the ViT-L/14 without registers."""

    extractor = NAME
    distance = ("FD-DINOv2", "fd_dinov2")
    suffix, key = " (DINOv2)", "_dinov2"
    dims = 1024
    layers: ClassVar[dict[str, str]] = {"features": LAYER}
    url = URL

    def ready(self, given: str | None, data: Dataset) -> None:
        """Fetch the authors' file, unless another is given."""
        fetch("dinov2", given, URL)

    def file(self, data: Dataset, cache: Path) -> Path:
        """The fetched file."""
        return hub_file(URL)


register_feature_extractor(NAME, DINOv2Features)
