"""Feature extractors for comparing images: one file each; all are torch-fidelity's or registered with it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.files import sha256
from harness.core.registry import find
from harness.core.tensors import load_tensors
from harness.evaluation.features.download import hub_file
from harness.evaluation.parts import Part

BATCH = 64
"""Batch size of the extractors."""


class Source(ABC):
    """A feature extractor whose weights are not loaded yet.

    extractor: its name in torch-fidelity. distance: the name of its Fréchet distance, and the key of that score.
    suffix, key: what is added to titles and keys of other figures. dims: number of features. layers: torch-fidelity's
    names of the features, and of the logits if it has any. channels: of its input images; grey ones are
    repeated. published: the first digits of the sha256 of the standard weights file; empty if it is not known.
    statistics: the names of their mean and covariance in a given reference file. neighbours: whether KID, precision and
    recall are taken in these features too.
    url: where that file is fetched from; empty if it is shipped, or made on this machine.
    """

    extractor: ClassVar[str]
    distance: ClassVar[tuple[str, str]]
    suffix: ClassVar[str]
    key: ClassVar[str]
    dims: ClassVar[int]
    layers: ClassVar[dict[str, str]]
    channels: ClassVar[int] = 3
    published: ClassVar[str] = ""
    statistics: ClassVar[tuple[str, str]] = ("mu", "sigma")
    neighbours: ClassVar[bool] = True
    url: ClassVar[str] = ""

    @abstractmethod
    def ready(self, given: str | None, data: Dataset) -> None:
        """Fetch the weights, unless a file is given; UserError if they cannot be obtained."""

    @abstractmethod
    def file(self, data: Dataset, cache: Path) -> Path:
        """The weights file that is used for a dataset unless another is given; made in the cache if it must be."""

    def warnings(self, file: Path) -> list[str]:
        """Reasons why figures by the weights of this file cannot be compared with others."""
        return []


class Features:
    """A loaded extractor: uint8 images → features, and logits if it has any."""

    def __init__(self, source: Source, file: Path, device: torch.device, given: bool = False) -> None:
        from torch_fidelity.utils import create_feature_extractor  # slow to import, and a plan does not need it

        self.file, self.digest = file, sha256(file)
        self.source, self.device, self.given = source, device, given
        published = source.published or _digest_beside(file)
        if not (given or self.digest.startswith(published)):
            raise UserError(
                f"{file} is damaged: its sha256 is {self.digest[:12]}…, not {published[:12]}…. Remove a fetched "
                "file, and it is fetched again; install the harness again where the file is its own."
            )
        # torch-fidelity executes what a pickle holds, and a file can be safetensors and a pickle at once. So it gets
        # the weights in a stream that torch.save has just written of them.
        try:
            weights = BytesIO()
            torch.save(read_weights(file), weights)
            weights.seek(0)
            net = create_feature_extractor(
                source.extractor,
                list(source.layers.values()),
                cuda=False,
                feature_extractor_weights_path=weights,
                verbose=False,
            )
        except Exception as error:  # damage: anything may be raised
            reason = str(error).split("\n")[0][:200]
            raise UserError(f"{file} does not hold weights of the extractor '{source.extractor}': {reason}") from None
        self.net = net.to(device)

    @property
    def warnings(self) -> list[str]:
        """Reasons why figures in these features cannot be compared with others."""
        if self.source.published and not self.digest.startswith(self.source.published):
            return [f"the extractor's weights (sha256 {self.digest[:12]}) are not the published ones"]
        if self.given and not self.source.published:
            return [f"the extractor's weights (sha256 {self.digest[:12]}) are of a file whose origin cannot be checked"]
        return self.source.warnings(self.file)

    def require(self, parts: Sequence[Part]) -> None:
        """UserError unless these parts used the same weights; the weights file may have changed since."""
        if {part.get("extractor") for part in parts} != {self.digest}:
            raise UserError(
                f"Some features were made with other weights of {self.source.extractor} than the present ones (sha256 "
                f"{self.digest[:12]}). Give the file that the run began with, or remove parts/ from the run's folder."
            )

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """The layers of uint8 images, N x C x H x W: float32 on the CPU, N x D each."""
        outputs: list[tuple[Tensor, ...]] = []
        with torch.no_grad():
            for batch in images.split(BATCH):
                batch = batch.to(self.device)
                if batch.shape[1] < self.source.channels:
                    batch = batch.expand(-1, self.source.channels, -1, -1)
                outputs.append(tuple(layer.float().cpu() for layer in self.net(batch)))
        layers = [torch.cat(layer) for layer in zip(*outputs, strict=True)]
        return dict(zip(self.source.layers, layers, strict=True))


def read_weights(file: str | Path | BytesIO) -> Any:  # noqa: ANN401 - tensors, in whatever containers the file has
    """The content of a weights file, or of the stream that an extractor gets; executes nothing.

    The format, torch.save's or safetensors, is detected from the content, not from the file name.
    """
    if isinstance(file, BytesIO):
        return torch.load(file, map_location="cpu", weights_only=True)
    with Path(file).open("rb") as stream:
        if stream.read(9)[8:] == b"{":  # safetensors: a header in JSON, after its length in 8 bytes
            return load_tensors(Path(file), torch.device("cpu"))
        stream.seek(0)
        return torch.load(stream, map_location="cpu", weights_only=True)  # of a path, torch.load would ask its ending


def source(name: str) -> Source:
    """The extractor with this name; UserError with similar names if there is none."""
    return find("features", name)()


def features(name: str, data: Dataset, given: str | None, device: torch.device, cache: Path) -> Features:
    """The extractor with this name and its weights, on a device; UserError if they cannot be obtained.

    cache: the folder for weights that are made on this machine.
    """
    extractor = source(name)
    extractor.ready(given, data)
    return Features(extractor, Path(given) if given else extractor.file(data, cache), device, bool(given))


def missing(name: str, given: str | None) -> list[str]:
    """What is missing of an extractor's weights: what it is, where it belongs, how to get it. Nothing is fetched."""
    if name in (digest.partition("-")[0] for digest in _digests()) and not given:
        return []  # without importing the extractor, which is slow
    url = source(name).url
    if not (url or given):
        return []  # they are made on this machine
    path = Path(given) if given else hub_file(url)
    if path.is_file():
        return []
    how = f"A run fetches {url}; where there is no network, bring that file and say extractors.{name}=PATH."
    if given:
        how = f"Put the file there, or correct extractors.{name}={given}."
    return [f"the weights of the extractor '{name}', at {path.absolute()}. {how}"]


def shipped(name: str, data: str = "") -> str:
    """The sha256 of an extractor's weights that are shipped beside this file; empty if none are.

    data: the name of the dataset, or of its class, for an extractor that has weights for each. It is read from a file,
    not from the extractor's class: a protocol contains it, and importing extractors is slow.
    """
    path = _digests().get(name) or _digests().get(f"{name}-{data.replace('_', '').lower()}")
    return path.read_text(encoding="utf-8").split()[0] if path else ""


def _digest_beside(file: Path) -> str:
    """The sha256 that stands beside a weights file; empty if none does."""
    beside = file.with_suffix(".sha256")
    return beside.read_text(encoding="utf-8").split()[0] if beside.is_file() else ""


def _digests() -> dict[str, Path]:
    """The files with the sha256 of shipped weights, by extractor, or by extractor-dataset."""
    return {path.stem: path for path in Path(__file__).parent.glob("*.sha256")}


def enough(of: Source, count: int, what: str) -> None:
    """UserError if there are too few images for a covariance of their features."""
    if count <= of.dims:
        raise UserError(
            f"{what}={count}: {of.distance[0]} compares covariances of {of.dims} features, which {count} images do "
            f"not determine. At least {of.dims + 1} are needed."
        )
