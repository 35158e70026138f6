"""The digits features for fidelity metrics: a small classifier of the digits' training split, with shipped weights.

The Inception network expects photographs of 299 pixels; its features are meaningless for 8x8 digits.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn
from torch_fidelity.registry import register_feature_extractor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.evaluation.features import Source, shipped
from harness.evaluation.features.classifier import ClassifierFeatures

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


class DigitsFeatures(ClassifierFeatures):
    """64 features and 10 logits of uint8 images, N x 1 x 8 x 8, for torch-fidelity."""

    @staticmethod
    def untrained(weights: Mapping[str, Tensor]) -> Classifier:
        """The one net that there is."""
        return Classifier()


register_feature_extractor(NAME, DigitsFeatures)
