"""Inception's spatial features, whose Fréchet distance is sFID (Nash et al. 2021), chosen as ADM's evaluator does."""

from typing import ClassVar

from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.registry import register_feature_extractor

from harness.evaluation.features.inception import Inception

NAME = "inception-v3-spatial"
CHANNELS = 7
"""Number of channels that are taken of each of 17 x 17 places, so that there are about as many features as FID has."""


class SpatialFeatures(FeatureExtractorInceptionV3):
    """Seven channels of `mixed_6/conv` in the TensorFlow graph: N x 2,023, by row, column, channel."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features of uint8 images, N x 3 x H x W."""
        outputs: list[Tensor] = []
        with self.Mixed_6d.branch1x1.register_forward_hook(lambda *call: outputs.append(call[2])):
            super().forward(x)
        return (outputs[0][:, :CHANNELS].permute(0, 2, 3, 1).flatten(1),)


class Spatial(Inception):
    """2,023 features of the 2015 Inception network that keep their places in the image."""

    extractor = NAME
    distance = ("sFID", "sfid")
    suffix, key = " (spatial)", "_spatial"
    dims = 17 * 17 * CHANNELS
    layers: ClassVar[dict[str, str]] = {"features": "768"}  # where the forward pass ends, one block later
    statistics = ("mu_s", "sigma_s")
    neighbours = False


register_feature_extractor(NAME, SpatialFeatures)
