"""The digits features: a small classifier, trained on the digits' training split, that fidelity is measured in.

The Inception network knows photographs of 299 pixels and says nothing of 8x8 digits.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor

from harness.checkpoint import save_tensors
from harness.data import TensorView
from harness.loader import batches

NAME = "digits-features"
STEPS, BATCH = 600, 64


class _Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 64),
            nn.BatchNorm1d(64, affine=False),  # features of unit variance on the training split, and none of them dead
        )  # fmt: skip
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(64, 10))


class DigitsFeatures(FeatureExtractorBase):
    """64 features and 10 logits of uint8 images, N x 1 x 8 x 8, for torch-fidelity."""

    def __init__(self, name: str, features_list: list[str], **options: Any) -> None:  # noqa: ANN401 - torch-fidelity's
        super().__init__(name, features_list)
        self.classifier = _Classifier()
        self.classifier.load_state_dict(load_file(options["feature_extractor_weights_path"]))
        self.eval().requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The layers there are."""
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The logits for the inception score, the features for all else."""
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """No: it is too small to gain by it."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """One black image."""
        return torch.zeros(1, 1, 8, 8, dtype=torch.uint8)

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The requested layers, in the order asked for."""
        features = self.classifier.features(input.float() / 255)
        layers = {"features": features, "logits": self.classifier.head(features)}
        return tuple(layers[name] for name in self.features_list)


def weights(images: Tensor, labels: Tensor, cache: Path) -> Path:
    """The classifier's weights file, trained on these images once and kept in the cache under their hash."""
    digest = hashlib.sha256(images.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()[:12]
    path = cache / f"{NAME}-{STEPS}-{digest}.safetensors"
    if not path.exists():
        save_tensors(path, _trained(images, labels).state_dict())
    return path


def _trained(images: Tensor, labels: Tensor) -> _Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = _Classifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    view = TensorView(images, labels, pad=1)
    for x, y in batches(view, len(view), BATCH, seed=0, start=0, stop=STEPS):
        loss = nn.functional.cross_entropy(classifier.head(classifier.features(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier


register_feature_extractor(NAME, DigitsFeatures)
