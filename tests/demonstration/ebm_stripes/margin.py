"""The margin of predictions."""

from typing import ClassVar

import torch

from harness.core.dataset import Dataset, Split
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.metric import Metric, Result, Subject
from harness.evaluation.parts import Part
from harness.evaluation.score import Score


@settings
class Margin(Metric):
    """The mean difference between the two largest logits of an image of a split."""

    split: Split
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def keys(self, data: Dataset) -> list[str]:
        """One score."""
        return ["margin"]

    def shards(self, subject: Subject) -> int:
        """1: a single pass."""
        return 1

    def score(self, subject: Subject, shard: int) -> Part:
        """The margin of each image."""
        logits, _ = subject.logits(self.split)
        first, second = torch.topk(logits, 2).values.T
        return {"margin": (first - second).tolist()}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Their mean."""
        margins = [margin for part in parts for margin in part["margin"]]
        score = Score(title="Margin", value=sum(margins) / len(margins), n=len(margins), better="higher")
        return Result({"margin": score})
