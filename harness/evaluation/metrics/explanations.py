"""Explanations by counterfactuals: does another classifier agree, are they sparse, realistic, stable and diverse?"""

from collections.abc import Mapping
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.core.dataset import Dataset, Split
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.random import PerImage, derive
from harness.core.settings import settings
from harness.core.walk import joint_logit, project, walk
from harness.evaluation.counterfactual import Ball, counterfactuals, towards
from harness.evaluation.features import missing, source
from harness.evaluation.intervals import bits, jackknife, mean_interval, share
from harness.evaluation.metric import Metric, Result, Subject, require_images
from harness.evaluation.metrics.counterfactuals import Counterfactuals
from harness.evaluation.parts import Part
from harness.evaluation.reference import evenly
from harness.evaluation.samples import Sampling, eight_bits
from harness.evaluation.score import Score

FEWEST = 2
"""The fewest images of a set that a distance between two sets takes."""

HELD = 0.9
"""The share of a change that its largest pixels hold, of which sparsity counts the number."""

MEANS: dict[str, tuple[str, Literal["%", ""], Literal["higher", "lower"]]] = {
    "sparsity": (f"Pixels that hold {100 * HELD:g} % of the change", "%", "lower"),
    "sensitivity": ("Difference of the changes, per noise", "", "lower"),
    "cosine": ("Cosine of the changes, with and without noise", "", "higher"),
    "diversity": ("L2 distance between walks from random starts", "", "higher"),
}
"""The scores that are means over images: title, unit, and which values are better."""


@settings
class Explanations(Metric):
    """Walk each image of a split towards a random other class in one ball, and judge the walked images by their change.

    agreement: the share that another classifier, the extractor's, assigns to the target; reached: that the model does.
    sparsity: the share of pixels that hold 90 % of the absolute change. kid: the squared MMD between the features of
    images walked into a class and those of real images of it, averaged over classes. It is unbiased for few images, so
    the images are cut in two halves, and those walked from one meet real images of the other.
    sensitivity, cosine: with δ the change of x and δ' that of x' = clamp( x + noise · u ), u a random unit vector,

        ‖δ' − δ‖ / ‖x' − x‖,    ⟨δ, δ'⟩ / ( ‖δ‖ ‖δ'‖ ):

    0 and 1 for the same change; the first is 1 for the same walked image.

    diversity: the mean distance between images walked from random points of the ball.
    norm, eps: of the ball. steps: of each walk. features: the extractor, whose net must classify the data. noise: L2
    length of the change of an image. starts: number of random points. chunk: images per shard; no result depends on it.
    seed: of targets, halves, noise and starts. count: number of images, evenly spaced; null for all.
    """

    split: Split
    norm: Ball
    eps: float
    steps: int
    features: Literal["digits", "own"]
    noise: float
    starts: int
    chunk: int
    seed: int
    count: int | None = None
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if not self.noise > 0 or self.starts < 2:
            raise ValueError(f"noise must be above 0 and starts 2 or more, not {self.noise:g} and {self.starts}")
        self._walks()  # checks the other settings

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor, and that both halves have walked and real images of every class."""
        require_images(data, self.split, f"split={self.split}", FEWEST)
        source(self.features).ready(weights.get(self.features), data)
        labels, targets, halves = self._classes(data)
        for classes, what in ((targets, "walked into"), (labels, "of")):
            for half in (False, True):
                counts = classes[halves == half].bincount(minlength=len(data.classes))
                if counts.min() < FEWEST:
                    raise UserError(
                        f"count={len(labels)}: in half of them there are {int(counts.min())} images {what} class "
                        f"{data.classes[int(counts.argmin())]}, and at least {FEWEST} are needed. Give a larger count."
                    )

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights."""
        return missing(self.features, weights.get(self.features))

    def keys(self, data: Dataset) -> list[str]:
        """Seven, with the norm and the radius."""
        return [self._key(name) for name in ("agreement", "reached", f"kid{source(self.features).key}", *MEANS)]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk."""
        return min(self.chunk, len(self._indices(data)))

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk of images."""
        return -(-len(self._indices(subject.data)) // self.chunk)

    def score(self, subject: Subject, shard: int) -> Part:
        """Walk a chunk's images from themselves, from a noisy copy, and from random points of the ball."""
        indices = self._indices(subject.data)[shard * self.chunk :][: self.chunk]
        images, _ = subject.images(self.split, indices)
        target = self._walks().targets(subject.data, indices).to(subject.device)
        found = counterfactuals(subject.model, images, target, self.eps, self.steps, self.norm)
        change = found.images - images
        # The same from a copy with a little noise.
        noisy = (images + self.noise * _unit(self._normal(images, indices, "noise"))).clamp(0, 1)
        walked = counterfactuals(subject.model, noisy, target, self.eps, self.steps, self.norm).images
        # And from random points of the ball around the image.
        how, ends = towards(self.eps, self.steps, self.norm), list[Tensor]()
        for turn in range(self.starts):
            start = project(images + self.eps * self._normal(images, indices, f"start {turn}"), images, how)
            ends.append(walk(subject.model, start, joint_logit(target), how, centre=images))
        features = subject.features(self.features)
        seen, real = features(eight_bits(found.images).cpu()), features(eight_bits(images).cpu())
        figures = {
            "sparsity": 100 * sparsity(change),
            "sensitivity": lengths(walked - noisy - change) / lengths(noisy - images),
            "cosine": cosine_similarity(change.flatten(1), (walked - noisy).flatten(1)),
            "diversity": torch.stack([lengths(a - b) for a, b in combinations(ends, 2)]).mean(0),
            "reached": found.predicted == target,
            "agreement": seen["logits"].argmax(1) == target.cpu(),
            "walked": seen["features"],
            "real": real["features"],
        }
        return {"extractor": features.digest} | {name: values.cpu().numpy() for name, values in figures.items()}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The shares, the means and the distance, with their intervals over images."""
        features = subject.features(self.features)
        features.require(parts)
        joined = {name: np.concatenate([part[name] for part in parts]) for name in (*MEANS, "reached", "agreement")}
        walked, real = (torch.cat([torch.from_numpy(part[name]) for part in parts]) for name in ("walked", "real"))
        classes, n = self._classes(subject.data), len(walked)

        def distance(rows: np.ndarray) -> float:
            of = torch.from_numpy(rows)
            labels, targets, halves = (values[of] for values in classes)
            return 1000 * kid_of_halves(walked[of], targets, real[of], labels, halves)

        kid = distance(np.arange(n))
        low, high = jackknife(n, distance, kid)
        ball, of = f"{self.norm} {self.eps:g}", features.source
        agreed = share(f"Judged as the target, {ball}", bits(torch.from_numpy(joined["agreement"])), features.warnings)
        title = f"KID × 1000{of.suffix} to the target class"
        details = {
            "reached": share("Classified as the target", bits(torch.from_numpy(joined["reached"]))),
            f"kid{of.key}": Score(
                title=title, value=kid, low=low, high=high, n=n, better="lower", warnings=features.warnings
            ),
        }
        for name, (title, unit, better) in MEANS.items():
            value, sd = float(joined[name].mean(dtype=np.float64)), float(joined[name].std(dtype=np.float64))
            low, high = mean_interval(value, sd, n)
            details[name] = Score(title=title, value=value, low=low, high=high, n=n, unit=unit, better=better)
        table = {"table": f"Explanations, {ball}"}
        scores = {self._key(name): score.model_copy(update=table) for name, score in details.items()}
        return Result({self._key("agreement"): agreed} | scores)

    def _walks(self) -> Counterfactuals:
        """The metric whose targets are taken."""
        return Counterfactuals(self.split, (self.eps,), self.steps, None, self.chunk, self.seed, count=self.count)

    def _classes(self, data: Dataset) -> tuple[Tensor, Tensor, Tensor]:
        """Of each image: its class, the target, and whether it is in the second half."""
        indices = self._indices(data)
        halves = torch.tensor([derive(self.seed, "half", index) % 2 == 1 for index in indices])
        return data.labels(self.split)[indices], self._walks().targets(data, indices), halves

    def _normal(self, images: Tensor, indices: list[int], what: str) -> Tensor:
        return PerImage([derive(self.seed, what, index) for index in indices]).normal(images)

    def _indices(self, data: Dataset) -> list[int]:
        return evenly(data.length(self.split), self.count)

    def _key(self, name: str) -> str:
        return f"explanation_{name}/{self.norm.lower()}_{self.eps:g}"


def sparsity(change: Tensor) -> Tensor:
    """The smallest share of pixels that hold HELD of an image's absolute change, N; 0 where nothing changed."""
    size = change.abs().sum(1).flatten(1).sort(1, descending=True).values
    before = size.cumsum(1) - size
    return (before < HELD * size.sum(1, keepdim=True)).float().mean(1)


def kid_of_halves(walked: Tensor, targets: Tensor, real: Tensor, labels: Tensor, halves: Tensor) -> float:
    """The mean over classes and halves of `kid` between one half's walked images and the other half's real images.

    walked, real: features of each image walked and as it was, N x D; halves: whether it is in the second half, N. A
    class with fewer than FEWEST images in either set is left out.
    """
    distances: list[float] = []
    for half in (False, True):
        for label in targets.unique():
            a, b = walked[(halves == half) & (targets == label)], real[(halves != half) & (labels == label)]
            if min(len(a), len(b)) >= FEWEST:
                distances.append(kid(a, b))
    return float(np.mean(distances))


def kid(a: Tensor, b: Tensor) -> float:
    """Unbiased squared MMD between features, N x D and M x D, with the kernel ( ⟨x, y⟩ / D + 1 )³ (Bińkowski 2018)."""
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def lengths(x: Tensor) -> Tensor:
    """L2 length of each image, N."""
    return x.flatten(1).norm(dim=1)


def _unit(x: Tensor) -> Tensor:
    return x / lengths(x).view(-1, 1, 1, 1)
