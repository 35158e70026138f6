"""What a metric is: shards of work on one subject, each scored alone and then merged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.core.dataset import Dataset, Split, gather
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged, UserError
from harness.evaluation.features import Features, features
from harness.evaluation.parts import Part
from harness.evaluation.samples import Samples, Sampling
from harness.evaluation.score import Score

BATCH = 200
"""Images that a split's logits are computed of at a time; in evaluation mode the answer does not depend on it."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    samples: the method's own images. cache: a folder for what many evaluations share (extractors, reference
    statistics). weights: files of feature extractors, by name; null or absent for their library's download.
    tell: hears, in a few words, how a shard gets on. untrained: makes the model anew, before any training. constants:
    mean and std that pixels are standardised by, as the config has them. held_out: whether the validation split was
    kept from the model's training. known, opened: logits and extractors so far.
    """

    model: EnergyModel
    data: Dataset
    device: torch.device
    samples: Samples
    cache: Path
    weights: Mapping[str, str | None] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda text: None
    untrained: Callable[[], EnergyModel] | None = None
    constants: Mapping[str, Sequence[float]] = field(default_factory=dict)
    held_out: bool = False
    known: dict[Split, tuple[Tensor, Tensor]] = field(default_factory=dict)
    opened: dict[str, Features] = field(default_factory=dict)

    def images(self, split: Split, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some images of a split, not augmented, and their labels, on the device; UserError if they are no images."""
        images, labels = gather(self.data.view(split, "plain"), [(index, 0) for index in indices])
        if images.shape[1:] != self.data.shape or not (images.min() >= 0 and images.max() <= 1):
            raise UserError(
                f"The {split} images should be {'x'.join(map(str, self.data.shape))} with values in [0, 1], but are "
                f"{'x'.join(map(str, images.shape[1:]))} in [{images.min():.3g}, {images.max():.3g}]."
            )
        return images.to(self.device), labels.to(self.device)

    def logits(self, split: Split) -> tuple[Tensor, Tensor]:
        """The logits, N x K, of a whole split, and its labels, N, on the CPU; computed once."""
        if split not in self.known:
            found: list[tuple[Tensor, Tensor]] = []
            for indices in torch.arange(self.data.length(split)).split(BATCH):
                images, labels = self.images(split, indices.tolist())
                with torch.no_grad():
                    found.append((self.model(images).cpu(), labels.cpu()))
            logits, labels = zip(*found, strict=True)
            self.known[split] = check_logits(torch.cat(logits)), torch.cat(labels)
        return self.known[split]

    def features(self, name: str) -> Features:
        """An extractor of features, on the device."""
        if name not in self.opened:
            self.opened[name] = features(name, self.data, self.cache, self.weights.get(name), self.device)
        return self.opened[name]


@dataclass
class Result:
    """What a metric found.

    scores: by key. outcomes: for each test image one character, 1 right and 0 wrong. pictures: by name, what writes
    the PNG whose path it is given. tables: by name, the numbers behind a picture, as JSON.
    """

    scores: dict[str, Score]
    outcomes: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    tables: dict[str, list[dict[str, float]]] = field(default_factory=dict)


class Metric(ABC):
    """A metric. A subclass is a frozen dataclass; its fields are those of its entry in a protocol."""

    needs: ClassVar[Literal["classify", "generate"]]

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Raise UserError, before anything is trained, if something that the metric needs is not there."""
        return

    def check(self, subject: Subject) -> dict[str, float]:
        """Figures, by name, of what must hold for its numbers to mean something; CanaryFailed where it does not."""
        return {}

    @abstractmethod
    def shards(self, subject: Subject) -> int:
        """Into how many parts the work is cut; the cut is the protocol's, so results do not depend on who does it."""

    @abstractmethod
    def score(self, subject: Subject, shard: int) -> Part:
        """The part of one shard."""

    @abstractmethod
    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The result of all parts, in the order of shards."""

    def summary(self, subject: Subject, parts: list[Part]) -> str:
        """A few words on the parts that are done, for the progress bar."""
        return ""


def check_logits(logits: Tensor) -> Tensor:
    """The logits, if they say anything; Diverged otherwise."""
    if not logits.isfinite().all():
        raise Diverged(f"the logits of {int((~logits.isfinite()).any(1).sum())} of {len(logits)} images are not finite")
    if len(logits) > 1 and (logits == logits[0]).all():
        raise Diverged("the logits are the same for every image: nothing was learned, or the weights are dead")
    return logits
