"""Memorisation: are the samples copies of training images?"""

from collections.abc import Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset, Split
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.features import missing, source
from harness.evaluation.intervals import bits, share
from harness.evaluation.metric import Metric, Part, Result, Subject, require_images
from harness.evaluation.neighbours import nearest
from harness.evaluation.pictures import Cell, short, table
from harness.evaluation.reference import KEPT, load_images, reference
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

SPACES = "features", "pixels"
"""Where distances are taken: in the extractor's features, and in 8-bit pixels."""

SHOWN = 10
"""Number of pairs in each row of the picture."""

COPIES = 0.5
"""A ratio of median distances below this is a dagger."""

LARGEST = 8 * 2**30
"""The most bytes of training images in memory."""

TABLE = "Memorisation"


@settings
class Memorisation(Metric):
    """The nearest training image of each sample, compared with how far apart real images are.

    A sample y with the nearest training image x is authentic if d(y, x) > d(x, x'), where x' is the nearest other
    training image of x; AuthPct is the share of authentic samples (Alaa et al. 2022, authenticity). It is 0 for
    copies, about half for fresh real images, and high for images that are like none: more is not better. So samples
    are ranked by how far their AuthPct lies below that of held-out images, and by nothing if it lies above:

        memorised = max(0, AuthPct(held-out images) − AuthPct(samples))

    features: the extractor. against: the split of held-out images, whose median distance to the nearest training image
    is the unit of the samples' own.
    """

    features: str
    against: Split
    needs: ClassVar[tuple[Ability, ...]] = ("generate",)

    def __post_init__(self) -> None:
        if self.against == "train":
            raise ValueError("against must be a split of held-out images, validation or test")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights, and the number of images of both splits."""
        source(self.features).ready(weights.get(self.features), data)
        require_images(data, self.against, f"against={self.against}")
        require_images(data, "train", "memorisation", 2)
        hint = "Leave it out, by ~protocol.metrics.memorisation, or choose another protocol."
        if (most := int(data.labels("train").bincount().max())) > KEPT:
            raise UserError(
                f"memorisation compares with {KEPT:,} training images of a class at most, not {most:,}. {hint}"
            )
        if (size := data.length("train") * prod(data.shape)) > LARGEST:
            raise UserError(
                f"memorisation keeps all training images in memory, {size / 2**30:.0f} GiB, where "
                f"{LARGEST // 2**30} GiB is the most. {hint}"
            )

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights."""
        return missing(self.features, weights.get(self.features))

    def keys(self, data: Dataset) -> list[str]:
        """Four for each space."""
        names = "authpct", "authpct_held_out", "memorised", "nearest_ratio"
        return [f"{name}{self._suffix(space)[1]}" for space in SPACES for name in names]

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk of samples, and of held-out images."""
        return len(subject.samples) + -(-subject.data.length(self.against) // subject.samples.how.chunk)

    def score(self, subject: Subject, shard: int) -> Part:
        """The distances of a chunk to the nearest training images, their places, and their distances to each other."""
        images, features = self._images(subject, shard), subject.features(self.features)
        chunk = {"features": features(images)["features"], "pixels": images}
        part: Part = {"extractor": features.digest}
        for space, points in chunk.items():
            among = self._training(subject)[space]
            distance, place = (column[:, 0] for column in nearest(points, among, 1))
            # An image may be the nearest of several samples; its own neighbour is looked up once.
            different, back = place.unique(return_inverse=True)
            apart = nearest(among[different], among, 1, skip=different)[0][:, 0]
            found = {"distance": distance, "place": place, "apart": apart[back]}
            part |= {f"{space}/{name}": values.numpy() for name, values in found.items()}
        return part

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """What is memorised and the ratio of medians in both spaces, and a picture of the most suspicious pairs."""
        features, chunks = subject.features(self.features), len(subject.samples)
        features.require(parts)
        sampled, held_out = _join(parts[:chunks]), _join(parts[chunks:])
        scores: dict[str, Score] = {}
        warnings, n = list(features.warnings), len(sampled["pixels/place"])
        for space in SPACES:
            suffix, key = self._suffix(space)
            for title, name, values in (("", "", sampled), (", held-out images", "_held_out", held_out)):
                authentic = torch.from_numpy(values[f"{space}/distance"] > values[f"{space}/apart"])
                score = share(f"AuthPct{suffix}{title}", bits(authentic))
                scores[f"authpct{name}{key}"] = score.model_copy(update={"table": TABLE})
            fewer = scores[f"authpct_held_out{key}"].value - scores[f"authpct{key}"].value
            scores[f"memorised{key}"] = Score(
                title=f"Memorised{suffix}", value=max(0.0, fewer), n=n, unit="%", better="lower", table=TABLE
            )
            median, unit = (float(np.median(values[f"{space}/distance"])) for values in (sampled, held_out))
            if unit > 0:
                title = f"Nearest distance / held-out images'{suffix}"
                scores[f"nearest_ratio{key}"] = Score(
                    title=title, value=median / unit, n=n, better="higher", table=TABLE
                )
            if median < COPIES * unit:
                warnings.append(
                    f"the nearest training image is {median / unit:.2f} times as far from samples as from held-out "
                    f"images (medians, {space}): many may be copies"
                )
        # The headline is what is memorised in the features; it carries the daggers.
        headline = f"memorised{self._suffix('features')[1]}"
        scores[headline] = scores[headline].model_copy(update={"table": "", "warnings": warnings})
        return Result(scores, pictures={"nearest": lambda path: self._draw(subject, sampled, path)})

    def suspects(self, found: Part, space: str) -> list[int]:
        """The samples in the order of suspicion: by d(y, x) / d(x, x'), smallest first."""
        return np.argsort(_relative(found, space), kind="stable").tolist()

    def _images(self, subject: Subject, shard: int) -> Tensor:
        """A chunk of samples or, after these, of held-out images, in 8 bits."""
        chunks, size = len(subject.samples), subject.samples.how.chunk
        if shard < chunks:
            return subject.samples[shard]
        indices = range(subject.data.length(self.against))[(shard - chunks) * size :][:size]
        return torch.cat([*load_images(subject.data.view(self.against, "reference"), list(indices))])

    def _training(self, subject: Subject) -> dict[str, Tensor]:
        """All training images in both spaces, class by class: so a reference holds the features of every one."""
        if not self._known:
            labels, features = subject.data.labels("train"), subject.features(self.features)
            layers = [
                reference(features, subject.data, "train", subject.cache, int(y)).features for y in labels.unique()
            ]
            pixels = [*load_images(subject.data.view("train", "reference"), _by_class(subject.data))]
            self._known.update(
                features=torch.cat([rows for rows in layers if rows is not None]), pixels=torch.cat(pixels)
            )
        return self._known

    @cached_property
    def _known(self) -> dict[str, Tensor]:
        """A cache of the training images; a metric is made for one evaluation."""
        return {}

    def _suffix(self, space: str) -> tuple[str, str]:
        """What titles and keys say of a space."""
        extractor = source(self.features)
        return (" (pixels)", "_pixels") if space == "pixels" else (extractor.suffix, extractor.key)

    def _draw(self, subject: Subject, found: Part, path: Path) -> None:
        """Write the most suspicious samples above their nearest training images, by features and then by pixels."""
        rows, size, train = list[list[Cell]](), subject.samples.how.chunk, subject.data.view("train", "reference")
        order = _by_class(subject.data)
        for space in SPACES:
            first = self.suspects(found, space)[:SHOWN]
            relative = _relative(found, space)
            samples = [subject.samples[i // size][i % size] / 255 for i in first]
            rows.append(
                [Cell(image, f"sample {i}: {relative[i]:.2f}") for i, image in zip(first, samples, strict=True)]
            )
            pairs = [train[order[found[f"{space}/place"][i]], 0] for i in first]
            names = [short(subject.data.classes[int(label)]) for _, label in pairs]
            rows.append([Cell(image, f"{space}: {name}") for (image, _), name in zip(pairs, names, strict=True)])
        table(path, rows)


def _join(parts: list[Part]) -> Part:
    """Join the arrays of all chunks."""
    arrays = [name for name, value in parts[0].items() if isinstance(value, np.ndarray)]
    return {name: np.concatenate([part[name] for part in parts]) for name in arrays}


def _relative(found: Part, space: str) -> np.ndarray:
    """d(y, x) / d(x, x') of each sample; 0 for a copy, also of an image that the training split has twice."""
    distance, apart = found[f"{space}/distance"], found[f"{space}/apart"]
    return np.divide(distance, apart, out=np.where(distance > 0, np.inf, 0.0), where=apart > 0)


def _by_class(data: Dataset) -> list[int]:
    """The indices of the training images in the order of their classes."""
    return data.labels("train").argsort(stable=True).tolist()
