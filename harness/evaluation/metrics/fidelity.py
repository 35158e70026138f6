"""Fidelity: how close the method's own samples are to the training images, computed by torch-fidelity.

It is imported inside the functions that use it: that takes a second, and a plan does not need it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.settings import Seed, later, settings
from harness.evaluation import anchors, canaries
from harness.evaluation.features import Features, Source, enough, missing, source
from harness.evaluation.intervals import jackknife, mean_interval, wilson
from harness.evaluation.metric import Metric, Part, Result, Subject
from harness.evaluation.neighbours import blocks, distances, nearest
from harness.evaluation.reference import (
    Reference,
    Statistics,
    frechet,
    given,
    image_shape,
    read_statistics,
    reference,
)
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

ROWS = 10_000
"""Number of rows and of columns of a matrix of distances; torch-fidelity's, so that sums are its own."""

NEIGHBOURS = 3
"""Number of neighbours that the balls of precision and recall reach to (Kynkäänniemi et al. 2019)."""


@settings
class Fidelity(Metric):
    """Fréchet distance, KID, IS, precision and recall of the samples against the training split.

    features: the extractor; titles name it, because numbers of different extractors cannot be compared.
    kid_subset: images in each of KID's 100 subsets. seed: of the subsets and of IS's shuffle.
    splits: number of sample splits that IS is averaged over. statistics: a file in the folder `root` with the
    reference's mean and covariance, in place of the training split. KID, precision and recall are then against the
    images that the file holds, as those of ADM do (arr_0), and left out if it holds none. density: number of neighbours
    for density and coverage (the authors take 5; precision and recall have 3); null leaves both out. anchors: whether
    the same figures are taken of real images, copies, simple generators and the starts (evaluation/anchors.py).
    """

    features: str
    kid_subset: int
    seed: Seed
    splits: int = 10
    statistics: str | None = None
    root: str = "."
    density: int | None = later(default=None)
    anchors: bool = later(default=False)
    needs: ClassVar[tuple[Ability, ...]] = ("generate",)

    def __post_init__(self) -> None:
        if self.kid_subset < 2 or self.splits < 2:
            raise ValueError("kid_subset and splits must be 2 or more")
        if self.density is not None and self.density < 1:
            raise ValueError(f"density must be 1 or more neighbours, or null, not {self.density}")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights, the number of samples, and a given reference."""
        extractor = source(self.features)
        extractor.ready(weights.get(self.features), data)
        enough(extractor, samples.count, "protocol.samples.count")
        if self.statistics:
            if not self._file.is_file():
                raise UserError(f"There is no {self._missing_file}")
            read_statistics(self._file, extractor)
            _, height, width = data.shape
            if (shape := image_shape(self._file)) and shape[1:3] != (height, width):
                raise UserError(
                    f"{self._file} holds images of {shape[1]} x {shape[2]} pixels, and the data's have {height} x "
                    f"{width}: choose data of that size, or another protocol."
                )
            images = shape[0] if shape else None
        else:
            images = data.length("train")
            enough(extractor, images, "images of the train split")
        if self.anchors:
            enough(extractor, data.length("test"), "anchors=true, images of the test split")
        # KID takes each of its subsets from both sides.
        if images is not None and extractor.neighbours and self.kid_subset > min(samples.count, images):
            raise UserError(
                f"kid_subset={self.kid_subset}: KID compares subsets of {samples.count} samples and {images} reference "
                "images. Choose one no larger than either."
            )
        if self.density and images is not None and extractor.neighbours and self.density >= images:
            raise UserError(
                f"density={self.density}: only {images} reference images have neighbours. Choose fewer, or null."
            )
        if "logits" in extractor.layers and 2 * self.splits > samples.count:
            raise UserError(
                f"splits={self.splits}: IS needs two samples in each, and there are {samples.count} samples."
            )

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights, and a given reference."""
        lines = missing(self.features, weights.get(self.features))
        return lines + ([self._missing_file] if self.statistics and not self._file.is_file() else [])

    def keys(self, data: Dataset) -> list[str]:
        """The Fréchet distance; KID, precision, … where there are images to compare with; IS where logits."""
        extractor = source(self.features)
        keys = [extractor.distance[1] + self._key]
        images = not self.statistics or (self._file.is_file() and image_shape(self._file))
        if images and extractor.neighbours:
            names = ["kid", "precision", "recall", *["density", "coverage"] * bool(self.density)]
            keys += [f"{name}{extractor.key}{self._key}" for name in names]
        keys += [f"is{extractor.key}"] * ("logits" in extractor.layers)
        return keys + [anchors.key(name, key) for name in anchors.NAMES * self.anchors for key in keys]

    def check(self, subject: Subject) -> dict[str, float]:
        """Train against train: check that the reference is that of the training split, in these features."""
        return canaries.check_reference(subject, *self.compared(subject))

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk of samples."""
        return len(subject.samples)

    def score(self, subject: Subject, shard: int) -> Part:
        """The features of a chunk, and the logits if the extractor has any."""
        features = subject.features(self.features)
        layers = features(subject.samples[shard])
        return {"extractor": features.digest, **{name: layer.numpy() for name, layer in layers.items()}}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The figures as scores."""
        features, against = self.compared(subject)
        features.require(parts)
        layers = {name: torch.cat([torch.from_numpy(part[name]) for part in parts]) for name in features.source.layers}
        scores = self._scores(features.source, layers, against)
        if self.anchors:
            scores |= self._anchor_scores(subject, features, against)
        return Result({key: score.model_copy(update={"warnings": features.warnings}) for key, score in scores.items()})

    def compared(self, subject: Subject) -> tuple[Features, Reference]:
        """The extractor, and the reference that samples are compared with."""
        features = subject.features(self.features)
        if self.statistics:
            return features, given(features, self._file, subject.cache)
        return features, reference(features, subject.data, "train", subject.cache)

    def _scores(self, extractor: Source, layers: dict[str, Tensor], against: Reference) -> dict[str, Score]:
        """The figures of some images, given their layers."""
        title = extractor.distance[0] + self._against
        scores = {extractor.distance[1] + self._key: distance(title, layers["features"], against.statistics)}
        if against.features is not None and extractor.neighbours:
            scores |= self._neighbours(extractor, layers["features"], against)
            if self.density:
                scores |= self._density(extractor, layers["features"], against, self.density)
        if "logits" in extractor.layers:
            scores[f"is{extractor.key}"] = self._inception_score(extractor, layers["logits"])
        return scores

    def _anchor_scores(self, subject: Subject, features: Features, against: Reference) -> dict[str, Score]:
        """The figures of the anchors, from the cache where they are known."""
        statistics = {name: array.tolist() for name, array in against.statistics.items()}
        settings = {name: value for name, value in vars(self).items() if name != "root"}
        depends = {"extractor": features.digest, "against": statistics, "settings": settings}
        scores: dict[str, Score] = {}
        for anchor in anchors.anchors(subject, subject.samples.how.count, self.seed):
            scores |= anchors.scores(
                anchor,
                subject.cache,
                depends,
                lambda images: self._scores(features.source, features(images), against),
            )
        return scores

    @property
    def _file(self) -> Path:
        """The file of the given reference."""
        return Path(self.root, self.statistics or "")

    @property
    def _missing_file(self) -> str:
        """What the file is, where it belongs, and how to get it."""
        return (
            f"reference file at {self._file.absolute()}. Put it there, or say in which folder it is: "
            "protocol.metrics.fidelity.root=FOLDER. Those of ADM are on "
            "https://github.com/openai/guided-diffusion/tree/main/evaluations."
        )

    @property
    def _key(self) -> str:
        """What is added to the keys of figures against a given reference."""
        return "_given" if self.statistics else ""

    @property
    def _against(self) -> str:
        """What is added to the titles of figures against a given reference."""
        return f" (against {self._file.name})" if self.statistics else ""

    def _neighbours(self, of: Source, found: Tensor, against: Reference) -> dict[str, Score]:
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        # KID over random subsets, no larger than either set.
        images = against.features
        assert images is not None
        subset = min(self.kid_subset, len(found), len(images))
        options = {"rng_seed": self.seed, "verbose": False, "save_cpu_ram": True}
        kid = kid_features_to_metric(found, images, kid_subset_size=subset, **options)[KEY_METRIC_KID_MEAN]
        title, n = f"KID × 1000{of.suffix}{self._against}", len(found)
        scores = {f"kid{of.key}{self._key}": Score(title=title, value=1000 * float(kid), n=n, better="lower")}
        # Precision: samples in the balls of images. Recall: images in the balls of samples.
        of_images = against.keep("radii", closed_radii)
        for name, inside in (
            ("Precision", in_closed_balls(found, images, of_images)),
            ("Recall", in_closed_balls(images, found, closed_radii(found))),
        ):
            value, count = float(inside.float().mean()), len(inside)
            low, high = wilson(round(value * count), count)
            title = name + of.suffix + self._against
            score = Score(title=title, value=value, low=low, high=high, n=count, better="higher")
            scores[f"{name.lower()}{of.key}{self._key}"] = score
        return scores

    def _density(self, of: Source, found: Tensor, against: Reference, k: int) -> dict[str, Score]:
        images = against.features
        assert images is not None
        radii = against.keep(f"open-radii-{k}", lambda images: open_radii(images, k))
        densities, covered = density_and_coverage(found, images, k, radii)
        value, n = float(densities.mean()), len(found)
        low, high = mean_interval(value, float(densities.std(correction=0)), n)
        share = wilson(int(covered.sum()), len(images))
        scores = (
            ("Density", n, value, (max(0.0, low), high)),
            ("Coverage", len(images), float(covered.double().mean()), share),
        )
        return {
            f"{name.lower()}{of.key}{self._key}": Score(
                title=name + of.suffix + self._against, value=value, low=low, high=high, n=n, better="higher"
            )
            for name, n, value, (low, high) in scores
        }

    def _inception_score(self, of: Source, logits: Tensor) -> Score:
        from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

        splits = min(self.splits, len(logits) // 2)
        result = isc_features_to_metric(logits, splits=splits, rng_seed=self.seed)
        value = float(result[KEY_METRIC_ISC_MEAN])
        low, high = mean_interval(value, float(result[KEY_METRIC_ISC_STD]), splits)
        return Score(title=f"IS{of.suffix}", value=value, low=low, high=high, n=len(logits), better="higher")


def distance(title: str, found: Tensor, against: Statistics) -> Score:
    """The Fréchet distance of features, N x D, with its jackknife interval."""

    def value_of(rows: np.ndarray) -> float:
        return frechet(found[torch.from_numpy(rows)], against)

    value, n = value_of(np.arange(len(found))), len(found)
    low, high = jackknife(n, value_of, value)
    return Score(title=title, value=value, low=max(0.0, low), high=high, n=n, better="lower")


def closed_radii(points: Tensor) -> Tensor:
    """The distance, N in float32, from each point to its NEIGHBOURS-th nearest other, as torch-fidelity computes it."""
    from torch_fidelity.metric_prc import calc_cdist_part

    # Each point is the nearest to itself. (torch-fidelity's own kthvalue takes nine times as long as topk.)
    rows = [calc_cdist_part(part, points).topk(NEIGHBOURS + 1, largest=False)[0][:, -1] for part in points.split(ROWS)]
    return torch.cat(rows)


def in_closed_balls(points: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """Whether each point, N, is in the ball around any centre; distances are torch-fidelity's, to the last bit."""
    from torch_fidelity.metric_prc import calc_cdist_part

    return torch.cat([(calc_cdist_part(part, centres) <= radii).any(1) for part in points.split(ROWS)])


def open_radii(images: Tensor, k: int) -> Tensor:
    """The distance, N in float64, from each image to its k-th nearest other."""
    return nearest(images, images, k, torch.arange(len(images)))[0][:, -1]


def density_and_coverage(samples: Tensor, images: Tensor, k: int, radii: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Density and coverage before their means: a value for each sample, and whether each image is covered.

        density = 1/(kM) Σ_j Σ_i 1[ y_j ∈ B(x_i, NND_k(x_i)) ],    coverage = 1/N Σ_i 1[ ∃ j: y_j ∈ B(x_i, NND_k(x_i)) ]

    B is the open ball around an image, up to its k-th nearest other image (Naeem et al. 2020, section 3.2, and code:
    torch-fidelity's balls for precision are closed). Equal sets have 1 of both. Equal distributions have density 1 on
    average, and in large sets coverage 1 − (N / (M + N))^k of N images by M samples (their Lemma 2 has M = N).

    radii: those of the images, N, if they are known.
    """
    radii = open_radii(images, k) if radii is None else radii
    counts, covered = torch.zeros(len(samples), dtype=torch.double), torch.zeros(len(images), dtype=torch.bool)
    # Images are the rows, as for the radii: distances that are equal on paper are then equal in the last bit too.
    for row, centres in blocks(images):
        for column, found in blocks(samples):
            inside = distances(centres, found) < radii[row : row + len(centres), None]
            counts[column : column + len(found)] += inside.sum(0)
            covered[row : row + len(centres)] |= inside.any(1)
    return counts / k, covered
