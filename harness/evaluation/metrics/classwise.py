"""Class-wise fidelity: whether samples look like the training images of their class, and are recognised as it."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.features import enough, source
from harness.evaluation.intervals import bits, jackknife, share
from harness.evaluation.metric import OfSamples, Part, Result, Subject
from harness.evaluation.reference import Statistics, frechet, reference
from harness.evaluation.samples import Sampling, labels_of
from harness.evaluation.score import CLASSWISE, Score

CLASSIFIERS = ("own", "digits")
"""The extractors that are classifiers of the data's own classes."""


@settings
class Classwise(OfSamples):
    """Of samples that are drawn for a class: their distance from its training images, and whether a judge sees it.

        FD = 1/K Σ_y FD( samples of class y, training images of class y ),    agreement = 1/N Σ_i 1[ judge(x_i) = y_i ]

    features: the extractor. judge: the name of another run of the same folder, whose net classifies the samples; null
    for the classifier whose features they are, which learned from the training split alone.
    """

    judge: str | None = None
    needs: ClassVar[tuple[Ability, ...]] = ("generate", "condition")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights, that somebody judges, and the number of images of each class."""
        if self.judge is None and self.features not in CLASSIFIERS:
            raise UserError(
                f"features={self.features} do not know the classes: say features=own, or judge=NAME, the name of a run."
            )
        extractor = source(self.features)
        extractor.ready(weights.get(self.features), data)
        classes = len(data.classes)
        if (least := samples.count // classes) <= extractor.dims:
            raise UserError(
                f"protocol.samples.count={samples.count} are {least} samples of each class, which do not determine a "
                f"covariance of {extractor.dims} features: set it to {classes * (extractor.dims + 1)} or more, or "
                "leave this metric out."
            )
        enough(extractor, int(data.labels("train").bincount(minlength=classes).min()), "training images of a class")

    def keys(self, data: Dataset) -> list[str]:
        """The distance and the agreement."""
        return [self._distance, f"{CLASSWISE}agreement"]

    def score(self, subject: Subject, shard: int) -> Part:
        """The features of a chunk, and the classes that the judge sees."""
        features, images = subject.features(self.features), subject.samples[shard]
        layers = features(images)
        logits = layers["logits"] if self.judge is None else self._judged(subject, images)
        return {
            "extractor": features.digest,
            "features": layers["features"].numpy(),
            "judged": logits.argmax(1).numpy(),
        }

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Both scores."""
        features, found = subject.features(self.features), self.found(subject, parts)
        judged = torch.from_numpy(np.concatenate([part["judged"] for part in parts]))
        classes = len(subject.data.classes)
        labels = labels_of(range(len(found)), classes)
        against = [
            reference(features, subject.data, "train", subject.cache, of_class=label).statistics
            for label in range(classes)
        ]

        def value_of(rows: np.ndarray) -> float:
            chosen = torch.from_numpy(rows)
            return mean_frechet(found[chosen], labels[chosen], against)

        value = value_of(np.arange(len(found)))
        low, high = jackknife(len(found), value_of, value)
        title, by = features.source.distance[0], self.judge or self.features
        distance = Score(
            title=f"Class-wise {title}",
            value=value,
            low=max(0.0, low),
            high=high,
            n=len(found),
            better="lower",
            warnings=features.warnings,
        )
        warnings = features.warnings if self.judge is None else []
        agreement = share(f"Class agreement (judge: {by})", bits(judged == labels), warnings)
        return Result({self._distance: distance, f"{CLASSWISE}agreement": agreement})

    def _judged(self, subject: Subject, images: Tensor) -> Tensor:
        """The logits, N x K, that the judge gives uint8 images."""
        assert subject.judge is not None and self.judge is not None
        with torch.no_grad():
            return subject.judge(self.judge)(images.to(subject.device) / 255).cpu()

    @property
    def _distance(self) -> str:
        return f"{CLASSWISE}{source(self.features).distance[1]}"


def mean_frechet(found: Tensor, labels: Tensor, against: list[Statistics]) -> float:
    """The Fréchet distance of the features, N x D, of each class from its statistics; the mean over classes."""
    return float(np.mean([frechet(found[labels == label], real) for label, real in enumerate(against)]))
