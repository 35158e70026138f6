"""Counterfactuals: images that a model sees another class in, and how close they are to real images of that class."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset, Split
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.random import derive
from harness.core.settings import later, settings
from harness.evaluation.counterfactual import counterfactuals, towards
from harness.evaluation.features import Features, enough, missing, source
from harness.evaluation.intervals import bits, mean_interval, share
from harness.evaluation.metric import Metric, Result, Subject, require_images
from harness.evaluation.parts import Part
from harness.evaluation.pictures import Cell, difference, short, table
from harness.evaluation.reference import evenly, frechet, reference
from harness.evaluation.samples import Sampling, eight_bits
from harness.evaluation.score import Score

FEWEST = 2
"""The fewest images that a mean has an interval for."""

SHOWN = 10
"""Largest number of images in the picture: the first image of each of this many classes."""


@settings
class Counterfactuals(Metric):
    """Walk each image of a split towards a random other class, in L2 balls of increasing radii (RATIO; DAT).

    steps: of each walk. features: the extractor in which the images walked into a class are compared with its training
    images, by a Fréchet distance averaged over classes; null for none, as when a class has no more images than there
    are features. confidence: the target confidence at which methods are compared. chunk: images per shard.
    seed: of the targets. count: number of images, evenly spaced in the split's order; null for all of them. rounded:
    whether the walked images are rounded to 8 bits, as in the authors' code of DAT; else truncated, as samples are.
    """

    split: Split
    radii: tuple[float, ...]
    steps: int
    features: str | None
    chunk: int
    seed: int
    confidence: float = 0.9
    count: int | None = None
    rounded: bool = later(default=False)
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if not self.radii or list(self.radii) != sorted(set(self.radii)):
            raise ValueError(f"radii must be one or more and rise, not {list(self.radii)}")
        for eps in self.radii:
            towards(eps, self.steps)
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be between 0 and 1, not {self.confidence}")
        if self.chunk < 1 or (self.count is not None and self.count < FEWEST):
            raise ValueError("chunk must be 1 or more, count 2 or more")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights, and that every class has enough walked and real images."""
        require_images(data, self.split, f"split={self.split}", FEWEST)
        if self.features is None:
            return
        extractor = source(self.features)
        extractor.ready(weights.get(self.features), data)
        targets = self.targets(data, self._indices(data))
        for labels, what in ((data.labels("train"), "training images of"), (targets, "counterfactuals into")):
            counts = labels.bincount(minlength=len(data.classes))
            try:
                enough(extractor, int(counts.min()), f"{what} class {data.classes[int(counts.argmin())]}")
            except UserError as error:
                raise UserError(f"{error} Or say features=null in the protocol's entry, for no distance.") from None

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights."""
        return missing(self.features, weights.get(self.features)) if self.features else []

    def keys(self, data: Dataset) -> list[str]:
        """Three details for each radius; with an extractor a fourth, and the distance at the confidence."""
        details = ["confidence", "reached", "distance"]
        headlines: list[str] = []
        if self.features is not None:
            _, key = source(self.features).distance
            details, headlines = [key, *details], [f"counterfactual_{key}"]
        return headlines + [f"counterfactual_{detail}/l2_{eps:g}" for eps in self.radii for detail in details]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk."""
        return min(self.chunk, len(self._indices(data)))

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk of images at each radius."""
        return len(self.radii) * self._chunks(subject.data)

    def score(self, subject: Subject, shard: int) -> Part:
        """Walk a chunk's images; return the outcome, the features, and the images for the picture."""
        radius_index, chunk = divmod(shard, self._chunks(subject.data))
        indices = self._indices(subject.data)[chunk * self.chunk :][: self.chunk]
        images, _ = subject.images(self.split, indices)
        target = self.targets(subject.data, indices).to(subject.device)
        # Walk, and keep the images in 8 bits as other samples are.
        result = counterfactuals(subject.model, images, target, self.radii[radius_index], self.steps)
        stored = eight_bits(result.images + 0.5 / 255 if self.rounded else result.images).cpu()
        part = {
            "confidence": result.after.cpu().numpy(),
            "reached": (result.predicted == target).cpu().numpy(),
            "distance": result.distance.cpu().numpy(),
            "shown": stored[
                [indices.index(index) for index in self._picture_indices(subject.data) if index in indices]
            ].numpy(),
        }
        if self.features is not None:
            features = subject.features(self.features)
            part |= {"extractor": features.digest, "features": features(stored)["features"].numpy()}
        return part

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The figures at each radius, and the Fréchet distance at the confidence at which methods are compared."""
        chunks = self._chunks(subject.data)
        by_radius = [_join(parts[first : first + chunks]) for first in range(0, len(parts), chunks)]
        scores: dict[str, Score] = {}
        for eps, part in zip(self.radii, by_radius, strict=True):
            scores |= _details(eps, part)
        if self.features is not None:
            subject.features(self.features).require(parts)
            scores = self._distances(subject, by_radius) | scores
        pictures = {
            "counterfactuals": lambda path: table(path, self._rows(subject, by_radius)),
            "counterfactual_strip": lambda path: table(path, self._rows(subject, by_radius)[:1]),
        }
        return Result(scores, pictures=pictures)

    def targets(self, data: Dataset, indices: list[int]) -> Tensor:
        """The target classes of some images: any class but their own, by seed and index alone."""
        classes = len(data.classes)
        turns = [1 + derive(self.seed, "target", index) % (classes - 1) for index in indices]
        return (data.labels(self.split)[indices] + torch.tensor(turns)) % classes

    def _distances(self, subject: Subject, found: list[Part]) -> dict[str, Score]:
        """The Fréchet distance at the confidence, if a radius reaches it, and at each radius."""
        assert self.features is not None
        extractor = subject.features(self.features)
        title, key = extractor.source.distance
        # Interpolate the distance at the confidence at which methods are compared.
        means = [float(part["confidence"].mean()) for part in found]
        values = self._mean_frechet(subject, extractor, found)
        matched, unmatched = match(means, values, self.confidence), list[str]()
        if means[0] > self.confidence:
            unmatched = [f"at the smallest radius the confidence is {100 * means[0]:.1f} % already"]

        def score(title: str, value: float, warnings: Sequence[str] = (), table: str = "") -> Score:
            warnings, n = [*extractor.warnings, *warnings], len(found[0]["confidence"])
            return Score(title=title, value=value, n=n, better="lower", table=table, warnings=warnings)

        headline = f"Counterfactual {title} at {100 * self.confidence:g} % confidence"
        scores = {} if matched is None else {f"counterfactual_{key}": score(headline, matched, unmatched)}
        for eps, value in zip(self.radii, values, strict=True):
            details = score(title, value, table=_table(eps))
            scores[f"counterfactual_{key}/l2_{eps:g}"] = details
        return scores

    def _mean_frechet(self, subject: Subject, extractor: Features, found: list[Part]) -> list[float]:
        """For each radius, the Fréchet distance between walked and training images per class, averaged over classes."""
        data = subject.data
        targets = self.targets(data, self._indices(data)).numpy()
        values = torch.zeros(len(found), len(data.classes), dtype=torch.double)
        for label in range(len(data.classes)):
            real = reference(extractor, data, "train", subject.cache, of_class=label).statistics
            for place, part in enumerate(found):
                values[place, label] = frechet(torch.from_numpy(part["features"][targets == label]), real)
        return values.mean(1).tolist()

    def _rows(self, subject: Subject, found: list[Part]) -> list[list[Cell]]:
        """The rows of the picture, by class: an image, its counterfactual at each radius, and the final change."""
        indices, names = self._picture_indices(subject.data), [short(name) for name in subject.data.classes]
        images, labels = subject.images(self.split, indices)
        targets = self.targets(subject.data, indices)
        rows: list[list[Cell]] = []
        for row, place in enumerate(map(self._indices(subject.data).index, indices)):
            image, cells = images[row].cpu(), list[Cell]()
            for eps, part in zip(self.radii, found, strict=True):
                confidence = 100 * float(part["confidence"][place])
                cells.append(Cell(torch.from_numpy(part["shown"][row]) / 255, f"ε {eps:g}: {confidence:.0f} %"))
            original = Cell(image, f"{names[int(labels[row])]} → {names[int(targets[row])]}")
            rows.append([original, *cells, Cell(difference(image, cells[-1].image), "change")])
        return [rows[row] for row in labels.argsort().tolist()]

    def _chunks(self, data: Dataset) -> int:
        return -(-len(self._indices(data)) // self.chunk)

    def _indices(self, data: Dataset) -> list[int]:
        """The indices of the images that are walked."""
        return evenly(data.length(self.split), self.count)

    def _picture_indices(self, data: Dataset) -> list[int]:
        """The indices that the picture shows: the first image of each of some evenly spaced classes; ascending."""
        indices = self._indices(data)
        labels = data.labels(self.split)[indices].tolist()
        classes = evenly(len(data.classes), SHOWN)
        return sorted(indices[labels.index(label)] for label in classes if label in labels)


def match(confidences: Sequence[float], values: Sequence[float], at: float) -> float | None:
    """The value at a confidence, interpolated between the first radius that reaches it and the one before.

    The first radius's value if that reaches it already; None if no radius does.
    """
    place = next((place for place, confidence in enumerate(confidences) if confidence >= at), None)
    if not place:
        return None if place is None else values[0]
    low, high = confidences[place - 1 : place + 1]
    return values[place - 1] + (at - low) / (high - low) * (values[place] - values[place - 1])


def _join(parts: list[Part]) -> Part:
    """Join the arrays of all chunks at one radius."""
    arrays = [name for name, value in parts[0].items() if isinstance(value, np.ndarray)]
    return {name: np.concatenate([part[name] for part in parts]) for name in arrays}


def _details(eps: float, part: Part) -> dict[str, Score]:
    """Target confidence, share classified as the target, and distance from the image, at one radius."""
    confidence = 100 * part["confidence"].astype(np.float64)
    distance = part["distance"].astype(np.float64)
    reached = share("Classified as the target", bits(torch.from_numpy(part["reached"])))
    return {
        f"counterfactual_confidence/l2_{eps:g}": _mean("Target confidence", confidence, eps, "%", "higher"),
        f"counterfactual_reached/l2_{eps:g}": reached.model_copy(update={"table": _table(eps)}),
        f"counterfactual_distance/l2_{eps:g}": _mean("Distance from the image", distance, eps, "", "lower"),
    }


def _mean(
    title: str, values: np.ndarray, eps: float, unit: Literal["%", ""], better: Literal["higher", "lower"]
) -> Score:
    value, n = float(values.mean()), len(values)
    low, high = mean_interval(value, float(values.std()), n)
    high = min(100.0, high) if unit else high
    return Score(
        title=title, value=value, low=max(0.0, low), high=high, n=n, unit=unit, better=better, table=_table(eps)
    )


def _table(eps: float) -> str:
    return f"Counterfactuals, L2 {eps:g}"
