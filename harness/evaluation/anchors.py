"""Images at both ends of a table of samples: real ones, copies, and what simple generators make.

Their figures say what the figures of samples mean: no sampler comes closer to the training images than real images of
the test split do, and one that learned nothing leaves the starts as they are.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.core.dataset import Dataset, Split, gather
from harness.core.files import locked_file, read_checked, write_checked
from harness.core.random import derive
from harness.evaluation.metric import BATCH, Subject
from harness.evaluation.reference import evenly, load_images
from harness.evaluation.samples import eight_bits
from harness.evaluation.score import ANCHOR, Score

NAMES = ["copies", "test", "gaussians", "starts"]
"""The names of all anchors, in order from the nearest to the farthest."""


@dataclass(frozen=True)
class Anchor:
    """Images, N x C x H x W in 8 bits; name: as in keys of scores; label: as a table names them."""

    name: str
    label: str
    images: Tensor


def anchors(subject: Subject, count: int, seed: int) -> Iterator[Anchor]:
    """Yield the sets of images, `count` each or as many as there are; the starts if the subject says where they are."""
    data = subject.data
    yield Anchor("copies", "copies of training images", _real(data, "train", count))
    yield Anchor("test", "real images of the test split", _real(data, "test", count))
    yield Anchor("gaussians", "a Gaussian of each class's pixels", gaussians(data, count, seed))
    if subject.outliers is not None:
        source = type(subject.outliers).__name__.lower()
        parts = [eight_bits(subject.outliers.starts(part.tolist())) for part in torch.arange(count).split(BATCH)]
        yield Anchor("starts", f"starts of samples, untouched ({source})", torch.cat(parts))


def gaussians(data: Dataset, count: int, seed: int) -> Tensor:
    """Samples of N(μ_c, Σ_c), the Gaussian of the training images of class c; image i has class i mod K. In 8 bits.

    With X_c the images of the class, less their mean, and z ~ N(0, I_n), μ_c + X_cᵀ z / √(n − 1) has that distribution.
    """
    view, labels, classes = data.view("train", "reference"), data.labels("train"), len(data.classes)
    images = torch.empty(count, *data.shape, dtype=torch.uint8)
    for label in range(min(classes, count)):
        indices = (labels == label).nonzero().flatten().tolist()
        x = gather(view, [(index, 0) for index in indices])[0].flatten(1)
        mean, n = x.mean(0), len(range(label, count, classes))
        z = torch.randn(n, len(x), generator=torch.Generator().manual_seed(derive(seed, "gaussian", label)))
        drawn = mean + z @ (x - mean) / max(1, len(x) - 1) ** 0.5
        images[label::classes] = eight_bits(drawn.clamp(0, 1).unflatten(1, data.shape))
    return images


def scores(
    anchor: Anchor, cache: Path, depends: Mapping[str, Any], score: Callable[[Tensor], dict[str, Score]]
) -> dict[str, Score]:
    """The scores of an anchor's images, in a table named by its label; computed once per folder of caches.

    depends: what they depend on beside the images, as JSON can hold it.
    """
    digest = hashlib.sha256(json.dumps(dict(depends), sort_keys=True).encode())
    digest.update(anchor.images.numpy().tobytes())
    path = cache / f"anchor-{anchor.name}-{digest.hexdigest()[:16]}.json"
    with locked_file(path):
        if not path.exists():
            found = {of: value.model_dump() for of, value in score(anchor.images).items()}
            write_checked(path, {"scores": found})
    kept = {of: Score.model_validate(value) for of, value in read_checked(path)["scores"].items()}
    table = f"{ANCHOR}{anchor.label}"
    return {key(anchor.name, of): value.model_copy(update={"table": table}) for of, value in kept.items()}


def key(name: str, of: str) -> str:
    """The key of an anchor's score, given the key that it has for samples."""
    return f"anchor/{name}/{of}"


def _real(data: Dataset, split: Split, count: int) -> Tensor:
    return torch.cat([*load_images(data.view(split, "reference"), evenly(data.length(split), count))])
