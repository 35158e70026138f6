"""CLIP's image embeddings, in which CMMD is taken (Radford et al. 2021; Jayasumana et al. 2024)."""

from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn
from torch_fidelity.registry import register_feature_extractor
from torchvision.transforms.functional import normalize

from harness.core.dataset import Dataset
from harness.evaluation.features import Source
from harness.evaluation.features.download import fetch, hub_file
from harness.evaluation.features.vit import LAYER, ViTFeatures

NAME = "clip-vit-l-14-336-timm"

REPOSITORY = "https://huggingface.co/timm/vit_large_patch14_clip_336.openai"
URL = f"{REPOSITORY}/resolve/81e38efc4637de5023b10e75a7f9bd1c6fa6b010/open_clip_model.safetensors"
"""OpenAI's weights as tensors alone; their own file is a program in TorchScript, which nothing here executes."""

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


class CLIPFeatures(ViTFeatures):
    """The image embedding of the ViT-L/14 at 336 pixels, of length 1, for uint8 images, N x 3 x H x W."""

    architecture = "vit_large_patch14_clip_quickgelu_336"
    classes = 768
    side = 336  # as in the code of CMMD

    def forward(self, input: Tensor) -> tuple[Tensor, ...]:
        """The embedding; `antialias` chooses the cubic of the authors' resize (a = −1/2), also where it enlarges."""
        x = nn.functional.interpolate(input.float() / 255, (self.side, self.side), mode="bicubic", antialias=True)
        return (nn.functional.normalize(self.net(normalize(x, MEAN, STD))),)


class CLIP(Source):
    """768 features of the ViT-L/14 at 336 pixels, in the space that images and texts share."""

    extractor = NAME
    distance = ("FD-CLIP", "fd_clip")
    suffix, key = " (CLIP)", "_clip"
    dims = CLIPFeatures.classes
    layers: ClassVar[dict[str, str]] = {"features": LAYER}
    published = "fbc415c3"
    url = URL

    def ready(self, given: str | None, data: Dataset) -> None:
        """Fetch the file, unless another is given."""
        fetch("clip", given, URL)

    def file(self, data: Dataset, cache: Path) -> Path:
        """The fetched file."""
        return hub_file(URL)


register_feature_extractor(NAME, CLIPFeatures)
