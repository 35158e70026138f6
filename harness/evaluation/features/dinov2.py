"""DINOv2's features; distances in them match human judgement better than in Inception's (Stein et al. 2023)."""

from pathlib import Path
from typing import Any, ClassVar

import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor
from torchvision.transforms.functional import normalize

from harness.core.dataset import Dataset
from harness.evaluation.features import Source, read_weights
from harness.evaluation.features.download import fetch, hub_file

NAME = "dinov2-vit-l-14-timm"
ARCHITECTURE = "vit_large_patch14_dinov2"
SIDE = 224
"""The side in pixels that images are resized to, as in the paper's own evaluation."""

URL = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class DINOv2Features(FeatureExtractorBase):
    """The class token of the ViT-L/14 for uint8 images, N x 3 x H x W, resized by bicubic interpolation."""

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:  # noqa: ANN401 - torch-fidelity's
        super().__init__(name, features_list)
        self.net = timm.create_model(ARCHITECTURE, num_classes=0, img_size=SIDE)
        assert isinstance(self.net, VisionTransformer)
        weights = read_weights(options["feature_extractor_weights_path"])
        self.net.load_state_dict(checkpoint_filter_fn(weights, self.net))
        self.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The available layers."""
        return ("class_token",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The class token."""
        return "class_token"

    @staticmethod
    def can_be_compiled() -> bool:
        """True."""
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """One black image."""
        return torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The class token."""
        x = nn.functional.interpolate(input.float() / 255, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
        return (self.net(normalize(x, MEAN, STD)),)


class DINOv2(Source):
    """1,024 features of the ViT-L/14 without registers."""

    extractor = NAME
    distance = ("FD-DINOv2", "fd_dinov2")
    suffix, key = " (DINOv2)", "_dinov2"
    dims = 1024
    layers: ClassVar[dict[str, str]] = {"features": "class_token"}
    url = URL

    def ready(self, given: str | None, data: Dataset) -> None:
        """Fetch the authors' file, unless another is given."""
        fetch("dinov2", given, URL)

    def file(self, data: Dataset, cache: Path) -> Path:
        """The fetched file."""
        return hub_file(URL)


register_feature_extractor(NAME, DINOv2Features)
