"""What a metric is: shards of work on one subject, each scored alone and then merged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from scipy.stats import binomtest
from torch import Tensor

from harness.data import Dataset, Split, gather
from harness.energy import EnergyModel
from harness.record import Score

BATCH = 200
"""Images that a split's logits are computed of at a time; in evaluation mode the answer does not depend on it."""

Part = dict[str, Any]
"""What one shard gives, as JSON can hold it: the file of a part is the mark that its shard is done."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    samples: the method's own images, uint8, N x C x H x W, made when first asked for.
    cache: a folder for what many evaluations share (feature extractors). known: logits computed so far.
    """

    model: EnergyModel
    data: Dataset
    device: torch.device
    samples: Callable[[], Tensor]
    cache: Path
    known: dict[Split, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def images(self, split: Split, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some images of a split, not augmented, and their labels, on the device."""
        images, labels = gather(self.data.view(split, "plain"), [(index, 0) for index in indices])
        return images.to(self.device), labels.to(self.device)

    def logits(self, split: Split) -> tuple[Tensor, Tensor]:
        """The logits, N x K, of a whole split, and its labels, N, on the CPU; computed once."""
        if split not in self.known:
            found: list[tuple[Tensor, Tensor]] = []
            for indices in torch.arange(len(self.data.labels(split))).split(BATCH):
                images, labels = self.images(split, indices.tolist())
                with torch.no_grad():
                    found.append((self.model(images).cpu(), labels.cpu()))
            logits, labels = zip(*found, strict=True)
            self.known[split] = torch.cat(logits), torch.cat(labels)
        return self.known[split]


@dataclass
class Result:
    """The scores of a metric, by key, and its outcome for each test image (one character each: 1 right, 0 wrong)."""

    scores: dict[str, Score]
    outcomes: dict[str, str] = field(default_factory=dict)


class Metric(ABC):
    """A metric. A subclass is a frozen dataclass; its fields are those of its entry in a protocol."""

    needs: ClassVar[Literal["classify", "generate"]]

    @abstractmethod
    def shards(self, subject: Subject) -> int:
        """Into how many parts the work is cut; the cut is the protocol's, so results do not depend on who does it."""

    @abstractmethod
    def score(self, subject: Subject, shard: int) -> Part:
        """The part of one shard."""

    @abstractmethod
    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The result of all parts, in the order of shards."""


def share(title: str, outcomes: str, warnings: list[str] | None = None) -> Score:
    """A share of right outcomes in %, with its 95 % Wilson interval."""
    right, n = outcomes.count("1"), len(outcomes)
    interval = binomtest(right, n).proportion_ci(method="wilson")
    low, high = 100 * float(interval.low), 100 * float(interval.high)
    value = 100 * right / n
    return Score(title=title, value=value, low=low, high=high, n=n, unit="%", better="higher", warnings=warnings or [])


def bits(right: Tensor) -> str:
    """A boolean tensor, N, as a string of 1 and 0."""
    return "".join("1" if one else "0" for one in right.tolist())
