"""Gradient masking: is the robustness of a net that of its decisions, or only of its gradients?"""

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.core.dataset import Dataset, Split
from harness.core.method import Ability
from harness.core.random import PerImage, derive
from harness.core.settings import settings
from harness.core.walk import Objective, Walk, project, walk
from harness.evaluation.intervals import bits, share, wilson
from harness.evaluation.metric import Metric, Part, Result, Subject, require_images
from harness.evaluation.reference import evenly
from harness.evaluation.samples import Sampling

REACH = 2.5
"""Total length of all steps, in radii: enough to reach the border from any start (Madry et al. 2018)."""

TABLE = "Gradient masking"


@settings
class Masking(Metric):
    """Two signs of masked gradients on a few images, after Athalye et al. (2018, section 3.1); each is a dagger.

    The walk from the image must break all images at a large radius. And walks from random points of the ball must not
    break more images than the walk from the image does, beyond the 95 % interval of its accuracy. A third sign, that
    adversarial images of another run break more, is not looked for.
    norm: of both balls. eps: radius at which restarts are tried. large: the large radius. steps: of each walk, up the
    margin max_k≠y f_k − f_y, which no confident net saturates. restarts: number of random starts. count: number of
    images, evenly spaced in the split's order. chunk: images per shard; no result depends on it. seed: of the starts.
    """

    split: Split
    norm: Literal["L2", "Linf"]
    eps: float
    large: float
    steps: int
    restarts: int
    count: int
    chunk: int
    seed: int
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if not 0 < self.eps < self.large:
            raise ValueError(f"eps must be above 0 and large above eps, not {self.eps:g} and {self.large:g}")
        if min(self.steps, self.restarts, self.count, self.chunk) < 1:
            raise ValueError("steps, restarts, count and chunk must be 1 or more")
        self.attack(self.large)

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that the split has images."""
        require_images(data, self.split, f"split={self.split}")

    def keys(self, data: Dataset) -> list[str]:
        """Three, with the norm and the radius."""
        return [self._key("large", self.large), self._key("attack", self.eps), self._key("restarts", self.eps)]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk."""
        return min(self.chunk, len(evenly(data.length(self.split), self.count)))

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk."""
        return -(-len(self._indices(subject)) // self.chunk)

    def score(self, subject: Subject, shard: int) -> Part:
        """Which of the chunk's images remain correct after the walk from the image, and after those from elsewhere."""
        indices = self._indices(subject)[shard * self.chunk :][: self.chunk]
        images, labels = subject.images(self.split, indices)
        # At the large radius random starts alone break any net, so only the walk from the image counts.
        large = next(self._withstand(subject, indices, images, labels, self.large))
        first, *_, last = self._withstand(subject, indices, images, labels, self.eps)
        return {"outcomes": {"large": bits(large), "attack": bits(first), "restarts": bits(last)}}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Accuracy at both radii, with the signs of masking as warnings."""
        large, first, last = (
            "".join(part["outcomes"][name] for part in parts) for name in ("large", "attack", "restarts")
        )
        warnings: list[str] = []
        if left := large.count("1"):
            warnings.append(
                f"{left} of {len(large)} images withstand an attack of radius {self.large:g} ({self.norm}): "
                "gradients may be masked"
            )
        if last.count("1") / len(last) < wilson(first.count("1"), len(first))[0]:
            warnings.append(
                f"walks from random starts break {first.count('1') - last.count('1')} of the {first.count('1')} images "
                "that the walk from the image left: gradients may be masked"
            )
        scores = {
            self._key("large", self.large): share(f"Accuracy, {self.norm} {self.large:g} (must be 0)", large, warnings),
            self._key("attack", self.eps): share(f"PGD, {self.norm} {self.eps:g}", first),
            self._key("restarts", self.eps): share(f"PGD and {self.restarts} restarts, {self.norm} {self.eps:g}", last),
        }
        # The large radius stands in the main table, and carries the daggers.
        changes = {key: {"table": TABLE} for key in scores} | {self._key("large", self.large): {"better": "lower"}}
        return Result({key: score.model_copy(update=changes[key]) for key, score in scores.items()})

    def attack(self, eps: float) -> Walk:
        """The walk: unit steps in a ball, of which the best iterate counts; ValueError for an invalid one."""
        norm = "l2" if self.norm == "L2" else "linf"
        return Walk(steps=self.steps, step=REACH * eps / self.steps, eps=eps, norm=norm, keep="best")

    def _withstand(
        self, subject: Subject, indices: list[int], images: Tensor, labels: Tensor, eps: float
    ) -> Iterator[Tensor]:
        """Which images remain correct after the walk from each image, and after each further random start."""
        how = self.attack(eps)
        with torch.no_grad():
            standing = subject.model(images).argmax(1) == labels
        for turn in range(1 + self.restarts):
            if standing.any():
                x, y = images[standing], labels[standing]
                start = x
                if turn:
                    left = [index for index, stands in zip(indices, standing.tolist(), strict=True) if stands]
                    normal = PerImage([derive(self.seed, "restart", turn, index) for index in left]).normal(x)
                    start = project(x + eps * normal, x, how)
                walked = walk(subject.model, start, margin(y), how, centre=x)
                with torch.no_grad():
                    standing[standing.clone()] = subject.model(walked).argmax(1) == y
            yield standing.clone()

    def _indices(self, subject: Subject) -> list[int]:
        return evenly(subject.data.length(self.split), self.count)

    def _key(self, name: str, eps: float) -> str:
        return f"masking/{name}/{self.norm.lower()}_{eps:g}"


def margin(labels: Tensor) -> Objective:
    """max_k≠y f_k − f_y, above 0 exactly where another class wins (f6 of Carlini & Wagner 2017, untargeted)."""

    def objective(logits: Tensor) -> Tensor:
        others = logits.scatter(1, labels[:, None], -torch.inf)
        return others.amax(1) - logits.gather(1, labels[:, None])[:, 0]

    return objective
