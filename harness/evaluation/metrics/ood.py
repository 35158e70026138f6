"""OOD detection: do images of other sources score lower than those of the data, even under attack?"""

from collections.abc import Mapping
from functools import cached_property
from statistics import fmean
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from harness.core.dataset import Dataset, Outliers, Split
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.random import derive
from harness.core.registry import find, make
from harness.core.settings import later, settings
from harness.evaluation.intervals import newcombe, wilson
from harness.evaluation.metric import BATCH, Metric, Result, Subject, require_images
from harness.evaluation.ood_scores import APGD, OF_LOGITS, PGD, Scorer, ood_score
from harness.evaluation.parts import Part
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

CLEAN, ATTACKED = "ood_auroc", "ood_auroc_attacked"
"""Keys of the means over all sets."""

FIGURES = "auroc", "fpr95"
"""The last part of the keys of each score on each set."""


@settings
class OOD(Metric):
    """How well scores separate all images of a split from other images, clean and attacked.

    sets: by name, the fields of a source of outliers; the first `count` starts of each are used, not augmented.
    scores: what is compared; the first gives the headline. Only functions of the logits are attacked.
    chunk: outliers per shard. APGD draws its randomness per batch, so the chunk is part of the protocol.
    pgd, apgd: the attacks; null for none. If an attack lowers an outlier's score, the clean score counts, unless
    `alone`: then the attacked score counts alone, as in the authors' code of DAT.
    """

    split: Split
    sets: dict[str, dict[str, Any]]
    scores: tuple[Scorer, ...]
    count: int
    chunk: int
    seed: int
    pgd: PGD | None = None
    apgd: APGD | None = None
    alone: bool = later(default=False)
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if min(self.count, self.chunk) < 1:
            raise ValueError("count and chunk must be 1 or more")
        if not (self.sets and self.scores):
            raise ValueError("sets and scores need one entry or more each")
        for name, fields in self.sets.items():
            if "name" not in fields:
                raise ValueError(f"sets.{name} has no name, which says what source of outliers it is, such as noise")
        if self._attacks and self.scores[0] not in OF_LOGITS:
            raise ValueError(f"the first of scores is attacked, so it must be {' or '.join(OF_LOGITS)}")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the files of every set, and that it has as many images as are used of it."""
        require_images(data, self.split, f"split={self.split}")
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
        """AUROC and FPR95 of each score on each set, clean and attacked, and the means of the first score's AUROC."""
        figures = [f"ood/{name}/{key}/{figure}" for name in self.sets for key in self._keys for figure in FIGURES]
        return [CLEAN, *[ATTACKED] * bool(self._attacks), *figures]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk of outliers under attack; the gradient score also passes batches of the data."""
        outliers = min(self.chunk, self.count)
        return max(outliers, min(BATCH, data.length(self.split))) if "gradient" in self.scores else outliers

    def shards(self, subject: Subject) -> int:
        """One shard for the data, and one for each chunk of each set."""
        return 1 + len(self.sets) * self._chunks

    def score(self, subject: Subject, shard: int) -> Part:
        """The values of each image, by score and by score/attack."""
        if shard == 0:
            return self._score_data(subject)
        place, chunk = divmod(shard - 1, self._chunks)
        return self._score_outliers(subject, sorted(self.sets)[place], chunk)

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """AUROC and FPR95 of each score on each set, clean and attacked; and the means of the first score's AUROC."""
        details: dict[str, Score] = {}
        for place, name in enumerate(sorted(self.sets)):
            chunks = parts[1 + place * self._chunks :][: self._chunks]
            for key in self._keys:
                data, outliers = parts[0][key.partition("/")[0]], np.concatenate([chunk[key] for chunk in chunks])
                details |= _details(name, key, data, outliers)
        return Result(self._headlines(details) | details)

    def _score_data(self, subject: Subject) -> Part:
        scores: dict[Scorer, list[np.ndarray]] = {scorer: [] for scorer in self.scores}
        for indices in torch.arange(subject.data.length(self.split)).split(BATCH):
            images, _ = subject.images(self.split, indices.tolist())
            for scorer, values in scores.items():
                values.append(ood_score(subject.model, images, scorer).numpy())
        return {scorer: np.concatenate(values) for scorer, values in scores.items()}

    def _score_outliers(self, subject: Subject, name: str, chunk: int) -> Part:
        indices = range(self.count)[chunk * self.chunk :][: self.chunk]
        images = self._source(subject.data, name).starts(indices, "plain").to(subject.device)
        part: Part = {}
        for scorer in self.scores:
            clean = ood_score(subject.model, images, scorer)
            part[scorer] = clean.numpy()
            for attack, method in self._attacks.items() if scorer in OF_LOGITS else ():
                subject.tell(f"{name}: {attack} on {scorer}")
                attacked = method.attacked(subject.model, images, scorer, derive(self.seed, name, scorer, chunk))
                scores = ood_score(subject.model, attacked, scorer)
                part[f"{scorer}/{attack}"] = (scores if self.alone else clean.maximum(scores)).numpy()
        return part

    def _headlines(self, details: dict[str, Score]) -> dict[str, Score]:
        """The first score's AUROC, and its lowest under attack, averaged over the sets."""
        first = self.scores[0]
        clean = [details[f"ood/{name}/{first}/auroc"] for name in self.sets]
        scores = {CLEAN: self._mean(f"OOD AUROC ({first})", clean)}
        if self._attacks:
            attacked = [
                min((details[f"ood/{name}/{first}/{attack}/auroc"] for attack in self._attacks), key=lambda s: s.value)
                for name in self.sets
            ]
            scores[ATTACKED] = self._mean("OOD AUROC, attacked", attacked)
        return scores

    def _mean(self, title: str, scores: list[Score]) -> Score:
        """The mean, with the means of the bounds: as if all sets erred in the same direction, so rather wide."""
        value, low, high = (fmean(getattr(score, name) for score in scores) for name in ("value", "low", "high"))
        n = self.count * len(self.sets)
        return Score(title=title, value=value, low=low, high=high, n=n, unit="%", better="higher")

    @property
    def _chunks(self) -> int:
        return -(-self.count // self.chunk)

    @property
    def _attacks(self) -> dict[str, PGD | APGD]:
        return {name: attack for name, attack in (("pgd", self.pgd), ("apgd", self.apgd)) if attack}

    @property
    def _keys(self) -> list[str]:
        """The keys of each set: the scores, and score/attack."""
        attacked = [f"{scorer}/{attack}" for scorer in self.scores if scorer in OF_LOGITS for attack in self._attacks]
        return [*self.scores, *attacked]

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


def auroc(data: np.ndarray, outliers: np.ndarray) -> float:
    """P(an image of the data scores higher than an outlier), in [0, 1]; ties count half."""
    from sklearn.metrics import roc_auc_score  # slow to import, and a plan does not need it

    labels = np.repeat([1, 0], [len(data), len(outliers)])
    return float(roc_auc_score(labels, np.concatenate([data, outliers])))


def accept(data: np.ndarray, outliers: np.ndarray) -> int:
    """The number of outliers at or above the highest threshold that 95 % of the data reach; their share is FPR95."""
    threshold = np.sort(data)[len(data) // 20]
    return int((outliers >= threshold).sum())


def _details(name: str, key: str, data: np.ndarray, outliers: np.ndarray) -> dict[str, Score]:
    """AUROC and FPR95 of one score on one set, clean or attacked."""
    scorer, _, attack = key.partition("/")
    label = ", ".join(filter(None, [scorer, attack.upper()]))
    area, passed, n = auroc(data, outliers), accept(data, outliers), len(outliers)
    bounds = newcombe(area, len(data), n), wilson(passed, n)
    scores = (
        _percent(f"AUROC {label}", name, area, bounds[0], n, "higher"),
        _percent(f"FPR95 {label}", name, passed / n, bounds[1], n, "lower"),
    )
    return {f"ood/{name}/{key}/{figure}": score for figure, score in zip(FIGURES, scores, strict=True)}


def _percent(
    title: str, of: str, share: float, bounds: tuple[float, float], n: int, better: Literal["higher", "lower"]
) -> Score:
    low, high = (100 * bound for bound in bounds)
    table = f"OOD detection, {of}"
    return Score(title=title, value=100 * share, low=low, high=high, n=n, unit="%", better=better, table=table)


def _config_path(name: str) -> str:
    """The place of a set's fields in a config."""
    return f"protocol.metrics.ood.sets.{name}"
