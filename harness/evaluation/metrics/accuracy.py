"""Clean accuracy."""

from collections.abc import Mapping
from typing import ClassVar

from harness.core.dataset import Dataset, Split
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.intervals import bits, share
from harness.evaluation.metric import Metric, Part, Result, Subject, require_images
from harness.evaluation.samples import Sampling


@settings
class Accuracy(Metric):
    """The share of a split's images, not augmented, that are classified correctly."""

    split: Split
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that the split has images."""
        require_images(data, self.split, f"split={self.split}")

    def keys(self, data: Dataset) -> list[str]:
        """One score."""
        return ["clean_accuracy"]

    def shards(self, subject: Subject) -> int:
        """1: a single pass."""
        return 1

    def score(self, subject: Subject, shard: int) -> Part:
        """One outcome per image."""
        logits, labels = subject.logits(self.split)
        return {"outcomes": bits(logits.argmax(1) == labels)}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Accuracy with its Wilson interval."""
        outcomes = "".join(part["outcomes"] for part in parts)
        return Result({"clean_accuracy": share("Clean accuracy", outcomes)}, {"clean": outcomes})
