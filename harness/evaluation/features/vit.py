"""The one vector that a vision transformer of timm gives an image, as torch-fidelity takes it; for DINOv2 and CLIP."""

from typing import Any, ClassVar

import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from harness.evaluation.features import read_weights

LAYER = "embedding"
"""Torch-fidelity's name of the vector."""


class ViTFeatures(FeatureExtractorBase):
    """A vector for each uint8 image, N x 3 x H x W; a subclass resizes and standardises them in `forward`.

    architecture: timm's name of the net. classes: number of outputs of its head; 0 for none. side: the side in pixels
    that images are resized to.
    """

    architecture: ClassVar[str]
    classes: ClassVar[int] = 0
    side: ClassVar[int]

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:  # noqa: ANN401 - torch-fidelity's
        super().__init__(name, features_list)
        self.net = timm.create_model(self.architecture, num_classes=self.classes, img_size=self.side)
        assert isinstance(self.net, VisionTransformer)
        weights = read_weights(options["feature_extractor_weights_path"])
        self.net.load_state_dict(checkpoint_filter_fn(weights, self.net))
        self.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The only layer."""
        return (LAYER,)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The only layer."""
        return LAYER

    @staticmethod
    def can_be_compiled() -> bool:
        """True."""
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """One black image, of any size."""
        return torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
