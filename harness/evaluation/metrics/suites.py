"""OOD detection by near and far sources, with scores of the logits and of penultimate features."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.dataset import Dataset, Outliers, Split
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.registry import find, make
from harness.core.settings import settings
from harness.evaluation.intervals import newcombe, wilson
from harness.evaluation.metric import BATCH, Metric, Result, Subject, require_images
from harness.evaluation.metrics.ood import accept, auroc
from harness.evaluation.ood_scores import Scorer, ood_score
from harness.evaluation.parts import Part
from harness.evaluation.penultimate import (
    NO_HEAD,
    head,
    knn_score,
    mahalanobis_score,
    penultimate,
    unit,
    whitening,
)
from harness.evaluation.reference import evenly
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

OF_FEATURES: Final = ("knn", "mahalanobis")
"""Scores of penultimate features, which some nets lack: see evaluation/penultimate.py."""

SUITES = ("near", "far")


@settings
class Suites(Metric):
    """How well scores separate all images of a split from near and from far sources.

    sets: by name, the fields of a source of outliers; the first `count` starts of each are used, not augmented.
    near, far: which sets each suite has. scores: what is compared; the first gives the headlines.
    fitted: number of training images, evenly spaced, that the scores of features are fitted to; null for all.
    neighbours: the k of kNN. chunk: outliers per shard.
    """

    split: Split
    sets: dict[str, dict[str, Any]]
    near: tuple[str, ...]
    far: tuple[str, ...]
    scores: tuple[Scorer | Literal["knn", "mahalanobis"], ...]
    count: int
    chunk: int
    neighbours: int
    fitted: int | None
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if min(self.count, self.chunk, self.neighbours) < 1:
            raise ValueError("count, chunk and neighbours must be 1 or more")
        if self.fitted is not None and self.fitted < self.neighbours:
            raise ValueError("fitted must be as many as neighbours, or more")
        if not (self.near and self.far and self.scores):
            raise ValueError("near, far and scores need one entry or more each")
        if sorted((*self.near, *self.far)) != sorted(self.sets):
            raise ValueError(f"each of the sets ({', '.join(self.sets)}) must be in near or in far, once")
        if self.scores[0] in OF_FEATURES:
            raise ValueError(f"the first of scores must be one that every net has: {', '.join(get_args(Scorer))}")
        for name, fields in self.sets.items():
            if "name" not in fields:
                raise ValueError(f"sets.{name} has no name, which says what source of outliers it is, such as noise")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the numbers of images, and the files of every set."""
        require_images(data, self.split, f"split={self.split}")
        if set(OF_FEATURES) & set(self.scores):
            require_images(data, "train", f"neighbours={self.neighbours}", self.neighbours)
        for name in self.sets:
            source = self._source(data, name)
            try:
                source.ready()
            except UserError as error:
                raise UserError(
                    f"For the OOD set '{name}', with {_config_path(name)} in place of outliers: {error}"
                ) from None
            most = source.different_starts
            if most is not None and self.count > most:
                raise UserError(f"count={self.count}: the OOD set '{name}' has {most} images; choose no more.")

    def keys(self, data: Dataset) -> list[str]:
        """The headlines, and of each score the mean AUROC of each suite, and AUROC and FPR95 on each set."""
        means = [f"suites/{suite}/{scorer}" for suite in SUITES for scorer in self.scores]
        figures = [
            f"suites/{suite}/{name}/{scorer}/{figure}"
            for suite in SUITES
            for name in self._names(suite)
            for scorer in self.scores
            for figure in ("auroc", "fpr95")
        ]
        return [*(f"ood_auroc_{suite}" for suite in SUITES), *means, *figures]

    def largest_pass(self, data: Dataset) -> int:
        """A batch, whose gradient is the gradient score; none for the other scores."""
        return min(BATCH, max(self.count, data.length(self.split))) if "gradient" in self.scores else 0

    def shards(self, subject: Subject) -> int:
        """One shard for the data, and one for each chunk of each set."""
        return 1 + len(self.sets) * self._chunks

    def score(self, subject: Subject, shard: int) -> Part:
        """The values of each image, by score; none of features if the net lacks them."""
        if shard == 0:
            batches = torch.arange(subject.data.length(self.split)).split(BATCH)
            return self._values(subject, (subject.images(self.split, rows.tolist())[0] for rows in batches))
        place, chunk = divmod(shard - 1, self._chunks)
        source = self._source(subject.data, sorted(self.sets)[place])
        indices = range(self.count)[chunk * self.chunk :][: self.chunk]
        batches = (indices[first:][:BATCH] for first in range(0, len(indices), BATCH))
        return self._values(subject, (source.starts(rows, "plain").to(subject.device) for rows in batches))

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The headlines, the mean of each suite, and the figures of each set; without scores that the net lacks."""
        scorers = [scorer for scorer in self.scores if scorer in parts[0]]
        missing = [scorer for scorer in self.scores if scorer not in parts[0]]
        # AUROC and FPR95 of each score on each set.
        details: dict[str, Score] = {}
        for place, name in enumerate(sorted(self.sets)):
            chunks = parts[1 + place * self._chunks :][: self._chunks]
            for scorer in scorers:
                outliers = np.concatenate([chunk[scorer] for chunk in chunks])
                details |= self._figures(name, scorer, parts[0][scorer], outliers)
        # The mean AUROC over each suite; that of the first score is a headline, which says what is missing.
        means = {
            f"suites/{suite}/{scorer}": self._mean(suite, scorer, details) for suite in SUITES for scorer in scorers
        }
        doubt = [f"no {' or '.join(missing)} score: {NO_HEAD}"] if missing else []
        headlines = {
            f"ood_auroc_{suite}": means[f"suites/{suite}/{self.scores[0]}"].model_copy(
                update={"title": f"OOD AUROC, {suite} ({self.scores[0]})", "table": "", "warnings": doubt}
            )
            for suite in SUITES
        }
        return Result(headlines | means | details)

    def _values(self, subject: Subject, batches: Iterable[Tensor]) -> Part:
        """The values, N, of all images of some batches, by score."""
        layer = self._layer(subject)
        fit = self._fit(subject, layer) if layer else {}
        values: dict[str, list[Tensor]] = {}
        for images in batches:
            found: dict[str, Tensor] = {
                scorer: ood_score(subject.model, images, scorer) for scorer in self.scores if scorer not in OF_FEATURES
            }
            if layer:
                features = penultimate(subject.model, layer, images)
                if "knn" in self.scores:
                    found["knn"] = knn_score(features, fit["bank"], self.neighbours)
                if "mahalanobis" in self.scores:
                    found["mahalanobis"] = mahalanobis_score(features, fit["whiten"], fit["means"])
            for scorer, value in found.items():
                values.setdefault(scorer, []).append(value)
        return {scorer: torch.cat(of_batches).numpy() for scorer, of_batches in values.items()}

    def _layer(self, subject: Subject) -> nn.Module | None:
        """The net's last layer, if a score needs what enters it."""
        if not set(OF_FEATURES) & set(self.scores):
            return None
        return head(subject.model, subject.images("train", [0])[0])

    def _fit(self, subject: Subject, layer: nn.Module) -> dict[str, Tensor]:
        """What the scores of features compare with, from training images; the processes of an evaluation share it."""

        def fit() -> Part:
            rows = evenly(subject.data.length("train"), self.fitted)
            batches = (subject.images("train", rows[first:][:BATCH])[0] for first in range(0, len(rows), BATCH))
            features = torch.cat([penultimate(subject.model, layer, images) for images in batches])
            whiten, means = whitening(features, subject.data.labels("train")[rows])
            return {"bank": unit(features).numpy(), "whiten": whiten.numpy(), "means": means.numpy()}

        part = subject.keep(f"penultimate-{self.fitted}", fit)
        return {name: torch.from_numpy(part[name]) for name in ("bank", "whiten", "means")}

    def _figures(self, name: str, scorer: str, data: np.ndarray, outliers: np.ndarray) -> dict[str, Score]:
        """AUROC and FPR95 of one score on one set."""
        area, passed, n = auroc(data, outliers), accept(data, outliers), len(outliers)
        suite = "near" if name in self.near else "far"
        table = f"OOD detection, {suite}: {name}"
        return {
            f"suites/{suite}/{name}/{scorer}/auroc": _percent(
                f"AUROC {scorer}", area, newcombe(area, len(data), n), n, "higher", table
            ),
            f"suites/{suite}/{name}/{scorer}/fpr95": _percent(
                f"FPR95 {scorer}", passed / n, wilson(passed, n), n, "lower", table
            ),
        }

    def _mean(self, suite: str, scorer: str, details: Mapping[str, Score]) -> Score:
        """The mean AUROC over a suite, with the means of the bounds: as if all sets erred in the same direction."""
        areas = [details[f"suites/{suite}/{name}/{scorer}/auroc"] for name in self._names(suite)]
        value, low, high = (fmean(getattr(area, name) for area in areas) / 100 for name in ("value", "low", "high"))
        n, table = self.count * len(areas), f"OOD detection, {suite}"
        return _percent(f"AUROC {scorer}", value, (low, high), n, "higher", table)

    def _names(self, suite: str) -> tuple[str, ...]:
        return self.near if suite == "near" else self.far

    @property
    def _chunks(self) -> int:
        return -(-self.count // self.chunk)

    @cached_property
    def _sources(self) -> dict[str, Outliers]:
        """A cache of the sources: building one may take a while."""
        return {}

    def _source(self, data: Dataset, name: str) -> Outliers:
        """The outliers of a set, built once per dataset."""
        if name not in self._sources or self._sources[name].data is not data:
            fields = dict(self.sets[name])
            self._sources[name] = make(find("outliers", fields.pop("name")), _config_path(name), fields, data=data)
        return self._sources[name]


def _percent(
    title: str, share: float, bounds: tuple[float, float], n: int, better: Literal["higher", "lower"], table: str
) -> Score:
    low, high = (100 * bound for bound in bounds)
    return Score(title=title, value=100 * share, low=low, high=high, n=n, unit="%", better=better, table=table)


def _config_path(name: str) -> str:
    """The place of a set's fields in a config."""
    return f"protocol.metrics.suites.sets.{name}"
