"""The features and logits of a small classifier, as torch-fidelity takes them; what digits and own features share."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from harness.evaluation.features import read_weights


class ClassifierFeatures(FeatureExtractorBase):
    """Features and logits of uint8 images, N x C x H x W."""

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:  # noqa: ANN401 - torch-fidelity's
        super().__init__(name, features_list)
        weights = read_weights(options["feature_extractor_weights_path"])
        self.classifier: Any = self.untrained(weights)
        self.classifier.load_state_dict(weights)
        self.eval().requires_grad_(False)

    @staticmethod
    @abstractmethod
    def untrained(weights: Mapping[str, Tensor]) -> nn.Module:
        """The classifier that these weights fit: `features` of images in [0, 1], and a `head` that makes logits."""

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The available layers."""
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The logits for the inception score, the features for all others."""
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """False: it is too small to benefit."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """One black image."""
        return torch.zeros(1, 1, 28, 28, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The requested layers, in the requested order."""
        features = self.classifier.features(input.float() / 255)
        layers = {"features": features, "logits": self.classifier.head(features)}
        return tuple(layers[name] for name in self.features_list)
