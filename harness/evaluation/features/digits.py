"""The digits features for fidelity metrics: a small classifier of the digits' training split, with shipped weights.

The Inception network expects photographs of 299 pixels; its features are meaningless for 8x8 digits.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.evaluation.features import Source, read_weights, shipped

NAME = "digits-features"


class Digits(Source):
    """64 features of a small classifier; benchmarks/digits_features.py made its weights."""

    extractor = NAME
    distance = ("FD (digits features)", "fd_digits")
    suffix, key = " (digits)", "_digits"
    dims = 64
    layers: ClassVar[dict[str, str]] = {"features": "features", "logits": "logits"}
    channels = 1
    published = shipped("digits")

    def ready(self, given: str | None, data: Dataset) -> None:
        """UserError unless the data are grey 8x8 images in ten classes."""
        if (tuple(data.shape), len(data.classes)) != ((1, 8, 8), 10):
            raise UserError(f"The digits features know 8x8 digits, not images of {data.shape}: use inception's.")

    def file(self, data: Dataset, cache: Path) -> Path:
        """The shipped weights."""
        return Path(__file__).with_suffix(".safetensors")


class Classifier(nn.Module):
    """64 features of images, N x 1 x 8 x 8 in [0, 1], and a head of 10 logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64),
            nn.BatchNorm1d(64, affine=False),  # features of unit variance on the training split, none of them dead
        )  # fmt: skip
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, 10))


class DigitsFeatures(FeatureExtractorBase):
    """64 features and 10 logits of uint8 images, N x 1 x 8 x 8, for torch-fidelity."""

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:  # noqa: ANN401 - torch-fidelity's
        super().__init__(name, features_list)
        self.classifier = Classifier()
        self.classifier.load_state_dict(read_weights(options["feature_extractor_weights_path"]))
        self.eval().requires_grad_(False)

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
        return torch.zeros(1, 1, 8, 8, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The requested layers, in the requested order."""
        features = self.classifier.features(input.float() / 255)
        layers = {"features": features, "logits": self.classifier.head(features)}
        return tuple(layers[name] for name in self.features_list)


register_feature_extractor(NAME, DigitsFeatures)
