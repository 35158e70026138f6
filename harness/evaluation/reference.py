"""The images that samples are compared with, as statistics and features: computed once, or read from a file.

torch-fidelity is imported inside the functions that use it: that takes a second, and a plan does not need it.
"""

import hashlib
import logging
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as View

from harness.core.dataset import BatchView, Dataset, Items, Key, Split, gather
from harness.core.errors import Damaged, UserError
from harness.core.files import locked_file
from harness.core.loader import check_sharing, in_order
from harness.core.tensors import load_tensors, save_tensors
from harness.evaluation.features import BATCH, Features, Source
from harness.evaluation.samples import eight_bits

log = logging.getLogger(__name__)

KEPT = 50_000
"""Number of images whose features are stored, for KID, precision and recall; evenly spaced in a larger split."""

HASHED = 2_000
"""Number of images hashed to identify a dataset and its preprocessing; evenly spaced in a larger split."""

WORKERS = 4
"""The most processes that load the images of a reference."""

Statistics = dict[str, np.ndarray]
"""`mu`, D float32, and `sigma`, D x D float64: mean and covariance of features, in torch-fidelity's format."""


@dataclass(frozen=True)
class Reference:
    """Statistics of all images, and the features of some, N x D; None if only the statistics are known.

    path: the file of the cache that holds the features; None if there is none.
    """

    statistics: Statistics
    features: Tensor | None
    path: Path | None = None

    def keep(self, name: str, make: Callable[[Tensor], Tensor]) -> Tensor:
        """What `make` computes of the features; once, and kept in a file beside theirs."""
        assert self.features is not None
        if self.path is None:
            return make(self.features)
        features, path = self.features, self.path.with_name(f"{self.path.stem}-{name}.safetensors")
        return _once(path, lambda: {name: make(features)})[name]


class Pixels(BatchView):
    """The images of a view in 8 bits, in the format of the stored samples; not augmented."""

    def __init__(self, view: Items) -> None:
        self.view = view

    def __getitems__(self, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        images, labels = gather(self.view, keys)
        return eight_bits(images), labels


class _Given(View[tuple[Tensor, Tensor]]):
    """Images of a reference file, N x H x W x C in uint8, as items without a class."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.images[key[0]]).permute(2, 0, 1) / 255, torch.tensor(-1)


def reference(features: Features, data: Dataset, split: Split, cache: Path, of_class: int | None = None) -> Reference:
    """The reference of a split, or of one class of it, in the view `reference`; from the cache."""
    labels = data.labels(split)
    indices = (labels == of_class).nonzero().flatten().tolist() if of_class is not None else list(range(len(labels)))
    return _cached(features, data.view(split, "reference"), indices, cache)


def given(features: Features, path: Path, cache: Path) -> Reference:
    """The reference of a file: its statistics, and the features of its images, from the cache, if it holds any."""
    statistics = read_statistics(path, features.source)
    if image_shape(path) is None or not features.source.neighbours:
        return Reference(statistics, None)
    view = _Given(np.load(path)["arr_0"])
    return replace(_cached(features, view, list(range(len(view))), cache), statistics=statistics)


def _cached(features: Features, view: Items, indices: list[int], cache: Path) -> Reference:
    """The reference of some images, from a file whose name covers all that it depends on; computed if there is none."""
    path = cache / f"reference-{features.source.extractor}-{_digest(features, view, indices)}.safetensors"
    tensors = _once(path, lambda: _compute(features, view, indices))
    return Reference(_to_statistics(tensors), tensors["features"], path)


def _once(path: Path, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors from a file of the cache; made and stored if it is missing or damaged."""
    with locked_file(path):
        try:
            if path.exists():
                return load_tensors(path, torch.device("cpu"))
        except Damaged as error:
            log.warning("%s It is computed again.", error)
        tensors = make()
        save_tensors(path, tensors)
        return tensors


def data_digests(data: Dataset) -> dict[str, str]:
    """The digest of each split that has images."""
    return {split: split_digest(data, split) for split in get_args(Split) if data.length(split)}


def split_digest(data: Dataset, split: Split) -> str:
    """A digest of a split: the number of its images, their labels, and the pixels of up to HASHED of them."""
    n = data.length(split)
    digest = hashlib.sha256(f"{n} {data.labels(split).tolist()}".encode())
    for images in load_images(data.view(split, "reference"), evenly(n, HASHED)):
        digest.update(images.numpy().tobytes())
    return digest.hexdigest()[:16]


def read_statistics(path: Path, of: Source) -> Statistics:
    """Read statistics of an extractor's features in pytorch-fid's format (.npz); UserError if they do not fit."""
    mean, covariance = of.statistics
    try:
        with np.load(path) as file:
            mu, sigma = file[mean].astype(np.float32), file[covariance].astype(np.float64)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        needed = f"an .npz with {mean} and {covariance}"
        raise UserError(
            f"{path} does not hold statistics for {of.distance[0]}: {needed} is needed ({error})."
        ) from None
    dims = of.dims
    if mu.shape != (dims,) or sigma.shape != (dims, dims):
        raise UserError(f"{path} holds statistics of {mu.shape} and {sigma.shape}, where {dims} features are compared.")
    if not (np.isfinite(mu).all() and np.isfinite(sigma).all()):
        raise UserError(f"{path} holds statistics that are not finite.")
    return {"mu": mu, "sigma": sigma}


def image_shape(path: Path) -> tuple[int, ...] | None:
    """The shape of the images in a reference file of ADM (Dhariwal & Nichol 2021): arr_0, N x H x W x C, uint8.

    None if it holds none. Only the header is read, for there are gigabytes of them.
    """
    try:
        with zipfile.ZipFile(path) as file:
            if "arr_0.npy" not in file.namelist():
                return None
            with file.open("arr_0.npy") as stream:
                np.lib.format.read_magic(stream)
                shape, _, kind = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as an .npz file ({error}).") from None
    if kind != np.uint8 or len(shape) != 4:
        raise UserError(f"{path}: arr_0 should be images, N x H x W x C in uint8, but is {kind} of {shape}.")
    return shape


def frechet(features: Tensor, against: Statistics) -> float:
    """‖μ − m‖² + tr(Σ + S − 2 (Σ S)^½) between features, N x D, and statistics (Heusel et al. 2017), in float64.

    The eigenvalues of Σ S are those of S^½ Σ S^½, which is symmetric: they take a third of torch-fidelity's time.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics

    own = fid_features_to_statistics(features)
    root = _root(against["sigma"].tobytes())
    product = root @ torch.from_numpy(own["sigma"]) @ root
    overlap = torch.linalg.eigvalsh(product).clamp(min=0).sqrt().sum()
    offset = own["mu"] - against["mu"]
    return float(offset.dot(offset) + own["sigma"].trace() + against["sigma"].trace() - 2 * float(overlap))


@lru_cache(maxsize=2)
def _root(sigma: bytes) -> Tensor:
    """S^½ of a covariance, D x D in float64; the jackknife asks for the same one eleven times."""
    covariance = torch.frombuffer(bytearray(sigma), dtype=torch.double)
    side = isqrt(len(covariance))
    values, vectors = torch.linalg.eigh(covariance.view(side, side))
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def evenly(n: int, count: int | None) -> list[int]:
    """`count` of n indices, evenly spaced; all of them if there are no more, or if `count` is None."""
    count = min(count or n, n)
    return [place * n // count for place in range(count)]


def balanced(labels: Tensor, count: int | None) -> list[int]:
    """About `count` indices, ascending, with the same number of each class that is there, evenly spaced in its order.

    Where the number of classes does not divide `count`, the first classes have one more; all indices if it is None.
    """
    if count is None:
        return list(range(len(labels)))
    present, chosen = labels.unique().tolist(), list[int]()
    for place, label in enumerate(present):
        rows = (labels == label).nonzero().flatten().tolist()
        share = count // len(present) + (place < count % len(present))
        chosen += [rows[at] for at in evenly(len(rows), share)] if share else []
    return sorted(chosen)


def load_images(view: Items, indices: list[int]) -> Iterator[Tensor]:
    """Load images in 8 bits, BATCH at a time; files with worker processes, as many as this process has threads."""
    for images, _ in in_order(Pixels(view), indices, BATCH, _workers(view)):
        yield images


def _workers(view: Items) -> int:
    """How many processes load the images of a view: none for images in memory, or where they cannot hand them over."""
    if not hasattr(view, "__getitems__"):
        with suppress(UserError):
            check_sharing()
            return min(WORKERS, torch.get_num_threads())
    return 0


def _digest(features: Features, view: Items, indices: list[int]) -> str:
    """Hash the extractor's weights, the number of images, and the pixels after preprocessing."""
    digest = hashlib.sha256(f"{features.digest} {len(indices)} {indices[:1]}{indices[-1:]}".encode())
    for images in load_images(view, [indices[place] for place in evenly(len(indices), HASHED)]):
        digest.update(images.numpy().tobytes())
    return digest.hexdigest()[:16]


def _compute(features: Features, view: Items, indices: list[int]) -> dict[str, Tensor]:
    """Compute statistics and the features to store; in one call if all are stored, else accumulated in float64."""
    from torch_fidelity.metric_fid import fid_features_to_statistics

    n, position = len(indices), 0
    keep, kept = set(evenly(n, KEPT)), list[Tensor]()
    total, outer = np.zeros(features.source.dims), np.zeros((features.source.dims, features.source.dims))
    # Store the features of evenly spaced images; accumulate sums if these are not all.
    for images in load_images(view, indices):
        layer = features(images)["features"]
        if len(keep) < n:
            rows = layer.double().numpy()
            total += rows.sum(0)
            outer += rows.T @ rows
        kept.append(layer[[i for i in range(len(layer)) if position + i in keep]])
        position += len(layer)
    # Mean and covariance, from the stored features or from the sums.
    if len(keep) == n:
        statistics = fid_features_to_statistics(torch.cat(kept))
    else:
        mean = total / n
        statistics = {"mu": mean.astype(np.float32), "sigma": (outer - n * np.outer(mean, mean)) / (n - 1)}
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in statistics.items()}
    return {**tensors, "features": torch.cat(kept)}


def _to_statistics(found: dict[str, Tensor]) -> Statistics:
    return {name: found[name].numpy() for name in ("mu", "sigma")}
