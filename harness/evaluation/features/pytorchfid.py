"""Inception's features of images that are resized as pytorch-fid does, whose FIDs many papers report."""

from typing import Any, ClassVar
from unittest.mock import patch

from torch import Tensor
from torch.nn.functional import interpolate
from torch_fidelity import feature_extractor_inceptionv3 as inception
from torch_fidelity.registry import register_feature_extractor

from harness.evaluation.features.inception import Inception

NAME = "inception-v3-pytorch-fid"


class PytorchFIDFeatures(inception.FeatureExtractorInceptionV3):
    """The same net and weights; the images are resized by torch's bilinear filter and scaled to 2 x / 255 − 1."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The requested layers, in the requested order, of uint8 images, N x 3 x H x W."""
        with patch.object(inception, "interpolate_bilinear_2d_like_tensorflow1x", _resize):
            return super().forward(x)


def _resize(x: Tensor, **options: Any) -> Tensor:  # noqa: ANN401 - torch-fidelity's
    """Resize images in [0, 255] as pytorch-fid does; the net's own scaling, y / 128 − 1, then gives 2 x / 255 − 1."""
    return interpolate(x, mode="bilinear", **options) * (256 / 255)


class PytorchFID(Inception):
    """2,048 features of the 2015 Inception network behind pytorch-fid's resize."""

    extractor = NAME
    distance = ("FID (pytorch-fid's resize)", "fid_pytorch")
    suffix, key = " (pytorch-fid's resize)", "_pytorch"
    layers: ClassVar[dict[str, str]] = {"features": "2048", "logits": "logits_unbiased"}


register_feature_extractor(NAME, PytorchFIDFeatures)
