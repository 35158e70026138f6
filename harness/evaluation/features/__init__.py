"""Feature extractors that images are compared in: one file each, all of them torch-fidelity's or registered with it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import ClassVar

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.registry import find
from harness.evaluation.parts import Part

BATCH = 64
"""Images that an extractor takes at a time."""


class Source(ABC):
    """An extractor, before its weights are looked at.

    extractor: its name in torch-fidelity. distance: what the Fréchet distance in it is called, and its score's key.
    suffix, key: what is added to titles and keys of other figures. dims: how many features. layers: torch-fidelity's
    names of the features, and of the logits where it has any. channels: of the images it takes; grey ones are
    repeated. published: how the sha256 of the field's own weights file begins; empty where there is none.
    """

    extractor: ClassVar[str]
    distance: ClassVar[tuple[str, str]]
    suffix: ClassVar[str]
    key: ClassVar[str]
    dims: ClassVar[int]
    layers: ClassVar[dict[str, str]]
    channels: ClassVar[int] = 3
    published: ClassVar[str] = ""

    @abstractmethod
    def ready(self, given: str | None, data: Dataset) -> None:
        """Fetch the weights, unless a file is given; UserError where there is no way to have them."""

    @abstractmethod
    def file(self, given: str | None, data: Dataset, cache: Path) -> Path:
        """The weights file."""


class Features:
    """An extractor at work: uint8 images → features, and logits where it has any."""

    def __init__(self, source: Source, file: Path, device: torch.device, given: bool = False) -> None:
        from torch_fidelity.utils import create_feature_extractor  # slow to import, and a plan needs none of it

        with file.open("rb") as stream:
            self.digest = hashlib.file_digest(stream, "sha256").hexdigest()
        self.source, self.device, self.given = source, device, given
        try:
            if file.suffix != ".safetensors":
                torch.load(file, weights_only=True)  # torch-fidelity's own reading would execute what is in it
            net = create_feature_extractor(
                source.extractor,
                list(source.layers.values()),
                cuda=False,
                feature_extractor_weights_path=str(file),
                verbose=False,
            )
        except (RuntimeError, OSError, EOFError, KeyError, UnpicklingError) as error:
            reason = str(error).split("\n")[0][:200]
            raise UserError(f"{file} does not hold weights of the extractor '{source.extractor}': {reason}") from None
        self.net = net.to(device)

    @property
    def warnings(self) -> list[str]:
        """What makes figures in these features incomparable with those of others."""
        if self.source.published and not self.digest.startswith(self.source.published):
            return [f"the extractor's weights (sha256 {self.digest[:12]}) are not the published ones"]
        if self.given and not self.source.published:
            return [f"the extractor's weights (sha256 {self.digest[:12]}) are of a file whose origin cannot be checked"]
        return []

    def require(self, parts: Sequence[Part]) -> None:
        """UserError unless the features in these parts are by the same weights; they may have changed meanwhile."""
        if {part.get("extractor") for part in parts} != {self.digest}:
            raise UserError(
                f"Some features were made with other weights of {self.source.extractor} than the present ones (sha256 "
                f"{self.digest[:12]}). Give the file that the run began with, or remove parts/ from the run's folder."
            )

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The layers, float32 on the CPU, N x D each, of uint8 images, N x C x H x W."""
        found: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for some in images.split(BATCH):
                some = some.to(self.device)
                if some.shape[1] < self.source.channels:
                    some = some.expand(-1, self.source.channels, -1, -1)
                found.append(tuple(layer.float().cpu() for layer in self.net(some)))
        whole = [torch.cat(layer) for layer in zip(*found, strict=True)]
        return dict(zip(self.source.layers, whole, strict=True))


def source(name: str) -> Source:
    """The extractor of a name; UserError with near names if there is none."""
    return find("features", name)()


def features(name: str, data: Dataset, cache: Path, given: str | None, device: torch.device) -> Features:
    """An extractor of a name with its weights, on a device; UserError where they cannot be had."""
    of = source(name)
    of.ready(given, data)
    return Features(of, of.file(given, data, cache), device, bool(given))


def enough(of: Source, count: int, what: str) -> None:
    """UserError where there are too few images for a covariance of their features."""
    if count <= of.dims:
        raise UserError(
            f"{what}={count}: {of.distance[0]} compares covariances of {of.dims} features, which {count} images do "
            f"not determine. At least {of.dims + 1} are needed."
        )
