"""Inception's features, used by the published FID, IS and KID (Heusel et al. 2017)."""

from pathlib import Path
from typing import ClassVar

from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

from harness.core.dataset import Dataset
from harness.evaluation.features import Source
from harness.evaluation.features.download import fetch, hub_file


class Inception(Source):
    """2,048 features of the 2015 Inception network, in torch-fidelity's port."""

    extractor = "inception-v3-compat"
    distance = ("FID", "fid")
    suffix, key = "", ""
    dims = 2048
    layers: ClassVar[dict[str, str]] = {"features": "2048", "logits": "logits_unbiased"}
    published = "6726825d"
    url = URL_INCEPTION_V3

    def ready(self, given: str | None, data: Dataset) -> None:
        """Download the file into torch's cache, where torch-fidelity keeps it too."""
        fetch("inception", given, URL_INCEPTION_V3)

    def file(self, data: Dataset, cache: Path) -> Path:
        """The fetched file."""
        return hub_file(URL_INCEPTION_V3)
