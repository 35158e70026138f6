"""The interface of a metric: shards of work on one subject, scored independently and then merged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from harness.core.dataset import Dataset, Outliers, Split
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged, UserError
from harness.core.loader import in_order
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.features import Features, features, missing
from harness.evaluation.parts import Part
from harness.evaluation.samples import Samples, Sampling
from harness.evaluation.score import Score

BATCH = 200
"""Number of images that are loaded, or that pass the net, at a time; no result depends on it."""


@dataclass(frozen=True)
class Subject:
    """The model and data that are evaluated.

    samples: the method's own images. cache: a folder for what many evaluations share (extractors, reference
    statistics). weights: files of feature extractors, by name; null or absent to use their library's download.
    tell: receives a short progress text of a shard. draw: draws samples of some indices with a multiple of the
    sampler's chosen steps, float in [0, 1] on the device; Diverged if they are not finite. keep: returns the part with
    a name; the first of an evaluation's processes that needs it makes it, and the others read it. untrained: builds the
    model as it was before training. constants: the mean and std that standardise pixels, as in the config. held_out:
    whether the validation split was excluded from the model's training. outliers: where samples start. known, opened:
    caches of logits and extractors. judge: the net of another run, by its name, on the device. workers: processes that
    load images.
    """

    model: EnergyModel
    data: Dataset
    device: torch.device
    samples: Samples
    cache: Path
    weights: Mapping[str, str | None] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda text: None
    draw: Callable[[int, range], Tensor] | None = None
    keep: Callable[[str, Callable[[], Part]], Part] = lambda name, make: make()
    untrained: Callable[[], EnergyModel] | None = None
    judge: Callable[[str], EnergyModel] | None = None
    constants: Mapping[str, Sequence[float]] = field(default_factory=dict)
    held_out: bool = False
    outliers: Outliers | None = None
    known: dict[Split, tuple[Tensor, Tensor]] = field(default_factory=dict)
    opened: dict[str, Features] = field(default_factory=dict)
    workers: int = 0

    def images(self, split: Split, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images of a split, not augmented, and labels, on the device; UserError for a wrong shape or value range."""
        (whole,) = self.batches(split, indices, max(1, len(indices)))
        return whole

    def batches(self, split: Split, indices: Sequence[int], size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `images`, but `size` of them at a time, so that no more are in memory."""
        for images, labels in in_order(self.data.view(split, "plain"), indices, size, self.workers):
            if images.shape[1:] != self.data.shape or not (images.min() >= 0 and images.max() <= 1):
                raise UserError(
                    f"The {split} images should be {'x'.join(map(str, self.data.shape))} with values in [0, 1], but "
                    f"are {'x'.join(map(str, images.shape[1:]))} in [{images.min():.3g}, {images.max():.3g}]."
                )
            yield images.to(self.device), labels.to(self.device)

    def logits(self, split: Split) -> tuple[Tensor, Tensor]:
        """The logits, N x K, of a whole split, and its labels, N, on the CPU; computed once for all metrics."""
        if split not in self.known:
            part = self.keep(f"logits-{split}", lambda: self._logits(split))
            self.known[split] = torch.from_numpy(part["logits"]), torch.from_numpy(part["labels"])
        return self.known[split]

    def _logits(self, split: Split) -> Part:
        parts: list[tuple[Tensor, Tensor]] = []
        for images, labels in self.batches(split, range(self.data.length(split)), BATCH):
            with torch.no_grad():
                parts.append((self.model(images).cpu(), labels.cpu()))
        logits, labels = zip(*parts, strict=True)
        return {"logits": check_logits(torch.cat(logits)).numpy(), "labels": torch.cat(labels).numpy()}

    def features(self, name: str) -> Features:
        """A feature extractor, on the device; opened once."""
        if name not in self.opened:
            self.opened[name] = features(name, self.data, self.weights.get(name), self.device, self.cache)
        return self.opened[name]


@dataclass
class Result:
    """The results of a metric.

    scores: by key. outcomes: by name, one character per test image, 1 right and 0 wrong. pictures: by name, a function
    that writes the PNG to a given path. tables: by name, the numbers behind a picture, as JSON.
    """

    scores: dict[str, Score]
    outcomes: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, float]]] = field(default_factory=dict)


class Metric(ABC):
    """A metric. A subclass is a frozen dataclass; its fields are those of its entry in a protocol."""

    needs: ClassVar[tuple[Ability, ...]]

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Raise UserError, before any training, if something that the metric needs is missing or too small.

        What can be fetched is fetched. The message names fields of the metric's entry by their own names.
        """
        return

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """What the metric needs and this machine lacks: what it is, where it belongs, how to get it; fetch nothing."""
        return []

    def keys(self, data: Dataset) -> list[str]:
        """The keys of all scores that `merge` may give, known before training; those left out are compared at merge."""
        return []

    def largest_pass(self, data: Dataset) -> int:
        """Number of images in the largest pass that has gradients, which is tried before training; 0 for none."""
        return 0

    def check(self, subject: Subject) -> dict[str, float]:
        """Check the conditions for meaningful numbers; return figures by name, CanaryFailed if one does not hold."""
        return {}

    @abstractmethod
    def shards(self, subject: Subject) -> int:
        """The number of shards; it depends on the protocol only, so results do not depend on the workers."""

    @abstractmethod
    def score(self, subject: Subject, shard: int) -> Part:
        """Compute the part of one shard."""

    @abstractmethod
    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Merge all parts, in the order of shards, into the result."""

    def summary(self, subject: Subject, parts: list[Part]) -> str:
        """A short text on the finished parts, for the progress bar."""
        return ""


@settings
class OfSamples(Metric):
    """A metric of the features of all samples, one shard for each chunk of them. features: the extractor."""

    features: str
    needs: ClassVar[tuple[Ability, ...]] = ("generate",)

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights."""
        return missing(self.features, weights.get(self.features))

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk of samples."""
        return len(subject.samples)

    def score(self, subject: Subject, shard: int) -> Part:
        """The features of a chunk."""
        features = subject.features(self.features)
        return {"extractor": features.digest, "features": features(subject.samples[shard])["features"].numpy()}

    def found(self, subject: Subject, parts: list[Part]) -> Tensor:
        """The features of all samples, N x D; UserError if parts used other weights than the present ones."""
        subject.features(self.features).require(parts)
        return torch.cat([torch.from_numpy(part["features"]) for part in parts])


def require_images(data: Dataset, split: Split, setting: str, least: int = 1) -> None:
    """UserError, naming the setting, if a split has fewer images than are needed."""
    if (n := data.length(split)) < least:
        raise UserError(f"{setting}: the {split} split has {n} images, and at least {least} are needed.")


def check_logits(logits: Tensor) -> Tensor:
    """Return the logits; Diverged if they are not finite or the same for every image."""
    if not logits.isfinite().all():
        raise Diverged(f"the logits of {int((~logits.isfinite()).any(1).sum())} of {len(logits)} images are not finite")
    if len(logits) > 1 and (logits == logits[0]).all():
        raise Diverged("the logits are the same for every image: nothing was learned, or the weights are dead")
    return logits
