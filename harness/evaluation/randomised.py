"""Nets that draw random numbers: repeated passes find them, and they are attacked in expectation over their draws.

An attack that looks at one pass climbs the gradient of one draw and meets another, so it flatters such a net (Athalye
et al. 2018). AutoAttack's version `rand` averages each gradient over 20 passes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from pyautoattack import AutoAttack
from torch import Tensor

from harness.core.dataset import Dataset, Split
from harness.core.method import Ability
from harness.core.random import derive
from harness.evaluation.intervals import bits, share
from harness.evaluation.metric import Metric, Part, Result, Subject
from harness.evaluation.metrics.robustness import Robustness, _warnings
from harness.evaluation.metrics.searched import Searched

IMAGES, PASSES = 8, 5
"""Number of images whose logits are compared, and of passes of each; AutoAttack's own check has as many passes."""

APART = 1e-4
"""Largest relative distance of two passes' logits that rounding explains, as in AutoAttack's check."""

FEWEST = 3
"""The fewest classes for the DLR loss, a ratio of differences of three sorted logits."""

NAMED = "_rand"
"""How the key of a score ends that is of the version `rand`."""


@dataclass(frozen=True)
class Randomised(Metric):
    """Robust accuracy under AutoAttack's version `rand`: APGD-CE and APGD-DLR, each gradient the mean of 20 passes.

    of: the metric that it stands for, whose images, norm, radius, chunks and seed it has. apart: how far the logits of
    two passes are apart.
    """

    of: Robustness
    apart: float
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    @property
    def split(self) -> Split:
        """The split whose images are attacked."""
        return self.of.split

    def keys(self, data: Dataset) -> list[str]:
        """One score, whose key has the norm, the radius and the version."""
        return [f"robust_accuracy/{self._key}"]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk."""
        return self.of.largest_pass(data)

    def check(self, subject: Subject) -> dict[str, float]:
        """How far two passes are apart: the reason for this version, which the record so has."""
        return {"relative distance of two passes' logits": self.apart}

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk."""
        return self.of.shards(subject)

    def score(self, subject: Subject, shard: int) -> Part:
        """Which of the chunk's images remain correct, and AutoAttack's warnings."""
        _, part = self.attack(subject, shard)
        return part

    def attack(self, subject: Subject, shard: int) -> tuple[Tensor, Part]:
        """Attack a chunk; return its images (adversarial where an attack succeeded, else unchanged) and its part."""
        indices, size = self.of.indices(subject), self.of.chunk
        x, y = subject.images(self.split, indices[shard * size : (shard + 1) * size])
        attack = AutoAttack(
            subject.model, norm=self.of.norm, eps=self.of.eps, seed=self.of.seed, device=subject.device, version="rand"
        )
        warnings = set[str]()
        if (classes := len(subject.data.classes)) < FEWEST:
            attack.attacks_to_run = ["apgd-ce"]
            warnings.add(f"with {classes} classes the DLR loss does not exist: APGD-DLR was left out")
        # The draws are those of the shard's own seed, whatever was drawn before.
        torch.manual_seed(derive(self.of.seed, "randomised", shard))
        with torch.no_grad():
            clean = subject.model(x).argmax(1) == y
        subject.tell(f"rand: {int(clean.sum())} of {len(y)} stand")
        with _warnings() as messages:
            attacked, predicted = attack.run_standard_evaluation(x, y, batch_size=size)
        outcomes = {"clean": bits(clean), "rand": bits(predicted == y)}
        return attacked, {"outcomes": outcomes, "warnings": sorted(warnings | messages)}

    def summary(self, subject: Subject, parts: list[Part]) -> str:
        """Robust accuracy on the finished images, and the number of images left."""
        standing = "".join(part["outcomes"]["rand"] for part in parts)
        remaining = len(self.of.indices(subject)) - len(standing)
        return f"{100 * standing.count('1') / len(standing):.1f} % robust so far, {remaining} images left"

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Accuracy after both attacks, with the reason for this version as a warning."""
        after = "".join(part["outcomes"]["rand"] for part in parts)
        warnings = [
            f"the net draws random numbers (the logits of two passes differ by {100 * self.apart:.2g} %), so it was "
            "attacked by AutoAttack's version rand: its standard version would flatter it"
        ]
        warnings += sorted({warning for part in parts for warning in part["warnings"]})
        score = share(f"Robust accuracy ({self.of.norm} {self.of._radius}, AutoAttack rand)", after, warnings)
        return Result({f"robust_accuracy/{self._key}": score}, {f"{self._key}/rand": after})

    @property
    def _key(self) -> str:
        return f"{self.of._key}{NAMED}"


def exchange(metrics: Mapping[str, Metric], subject: Subject) -> dict[str, Metric]:
    """The metrics that judge this subject: of a net that draws random numbers, `Randomised` for each robust accuracy.

    All processes of an evaluation come to the same; what a deterministic net gives and draws does not change.
    """
    attacks = [metric for metric in metrics.values() if isinstance(metric, Robustness)]
    if not attacks or not (apart := distance(subject, attacks[0])):
        return dict(metrics)
    apart = subject.keep("randomised", lambda: {"apart": apart})["apart"]
    if apart <= APART:
        return dict(metrics)
    # The version `rand` always searches in fp32.
    in_fp32 = {name: m.in_fp32() if isinstance(m, Searched) else m for name, m in metrics.items()}
    return {name: Randomised(m, apart) if isinstance(m, Robustness) else m for name, m in in_fp32.items()}


def distance(subject: Subject, metric: Robustness) -> float:
    """The largest relative distance of the logits of PASSES passes of the metric's first images; 0 if all are equal."""
    x, _ = subject.images(metric.split, metric.indices(subject)[:IMAGES])
    devices = [subject.device] if subject.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices):
        torch.manual_seed(metric.seed)
        first, *others = (subject.model(x).double() for _ in range(PASSES))
    distances = torch.stack([(other - first).norm(dim=1) for other in others]) / (first.norm(dim=1) + 1e-10)
    return float(distances.nan_to_num(0, 0).max())
