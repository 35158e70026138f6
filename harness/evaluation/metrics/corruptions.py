"""Accuracy under common corruptions (Hendrycks & Dietterich 2019), generated or from the published files."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Dataset, Split
from harness.core.errors import Diverged, UserError
from harness.core.method import Ability
from harness.core.random import derive
from harness.core.settings import Seed, settings
from harness.evaluation.corrupt import CORRUPTIONS, GENERATED, SEVERITIES, Constants, Corruption, corrupt
from harness.evaluation.corrupted_files import ALEXNET, PAGES, CorruptedFiles, Published, corrupted_files
from harness.evaluation.intervals import bits, mean_interval
from harness.evaluation.metric import BATCH, Metric, Part, Result, Subject, require_images
from harness.evaluation.samples import Sampling
from harness.evaluation.score import Score

BY_CORRUPTION, BY_SEVERITY = "Accuracy by corruption", "Accuracy by severity of corruption"
"""The tables of details."""


@settings
class Corruptions(Metric):
    """Accuracy on a split's images under corruptions at severities 1 to 5: the mean over both.

    corruptions: which of the paper's fifteen; titles say how many. constants: strengths of those that are generated.
    seed: of their noise, which also depends on corruption, severity and image. files: a set of published files, which
    are judged instead, in the folder `root`; then the split is test.
    """

    split: Split
    corruptions: tuple[Corruption, ...]
    constants: Constants
    seed: Seed
    files: Published | None = None
    root: str = "data"
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if not self.corruptions or len(set(self.corruptions)) < len(self.corruptions):
            raise ValueError("corruptions needs one or more names, each once")
        if self.files and self.split != "test":
            raise ValueError(f"the files of {self.files} are test images, so split must be test")
        if not self.files and (others := sorted(set(self.corruptions) - set(GENERATED))):
            raise ValueError(
                f"{', '.join(others)}: only published files have these (files=CIFAR-10-C, for instance); generated "
                f"are {', '.join(GENERATED)}"
            )

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that the split has images, and that published files are those of the split."""
        require_images(data, self.split, f"split={self.split}", 2)
        if missing := self.missing(weights):
            raise UserError(f"There is no {missing[0]}")
        if files := self._published:
            for corruption in self.corruptions:
                files.check(data, corruption)

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The first published file that is not there."""
        if not (self.files and self._published):
            return []
        expected = [path for corruption in self.corruptions for path in self._published.expected(corruption)]
        lacking = next((path for path in expected if not path.exists()), None)
        return [
            f"{lacking}, of {self.files}. Get it from {PAGES[self.files]} and unpack it, or say where its folder is: "
            "protocol.metrics.corruptions.root=FOLDER."
        ] * bool(lacking)

    def keys(self, data: Dataset) -> list[str]:
        """The mean, those of each corruption and of each severity, and the mCE where AlexNet's errors are known."""
        parts = [*self.corruptions, *(f"severity_{severity}" for severity in SEVERITIES)]
        return ["corrupted_accuracy", *["mce"] * self._has_mce, *(f"corrupted_accuracy/{part}" for part in parts)]

    def shards(self, subject: Subject) -> int:
        """One for each corruption and severity."""
        return len(self._cases)

    def score(self, subject: Subject, shard: int) -> Part:
        """Whether each image is classified correctly, under one corruption at one severity."""
        corruption, severity = self._cases[shard]
        labels = subject.data.labels(self.split)
        right: list[Tensor] = []
        for rows in torch.arange(len(labels)).split(BATCH):
            images = self._images(subject, corruption, severity, rows.tolist())
            with torch.no_grad():
                logits = subject.model(images.to(subject.device)).cpu()
            if not logits.isfinite().all():
                raise Diverged(f"the logits of images with {corruption} are not finite")
            right.append(logits.argmax(1) == labels[rows])
        return {"right": bits(torch.cat(right))}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The means with their intervals over images, and the outcomes of each corruption at each severity."""
        right = np.array([[letter == "1" for letter in part["right"]] for part in parts], float)
        right = right.reshape(len(self.corruptions), len(SEVERITIES), -1)
        by_name = dict(zip(self.corruptions, right.mean(1), strict=True))
        share = f" ({len(by_name)} of {len(CORRUPTIONS)})" * (len(by_name) < len(CORRUPTIONS))
        scores = {"corrupted_accuracy": _mean(f"{self.files or 'Corrupted'} accuracy{share}", right.mean((0, 1)))}
        # The mean over corruptions of errors in units of AlexNet's.
        if self._has_mce:
            errors = [(1 - of_one) / ALEXNET[name] for name, of_one in by_name.items()]
            scores["mce"] = _mean("mCE", np.mean(errors, axis=0), better="lower")
        # Details, by corruption and by severity.
        for name, of_one in by_name.items():
            scores[f"corrupted_accuracy/{name}"] = _mean(name.replace("_", " "), of_one, BY_CORRUPTION)
        for severity, of_one in zip(SEVERITIES, right.mean(0), strict=True):
            scores[f"corrupted_accuracy/severity_{severity}"] = _mean(f"severity {severity}", of_one, BY_SEVERITY)
        doubt = self._published.warnings(subject.data, self.corruptions[0]) if self._published else []
        return Result(
            {key: score.model_copy(update={"warnings": doubt}) for key, score in scores.items()},
            {
                f"corrupted/{name}/{severity}": part["right"]
                for (name, severity), part in zip(self._cases, parts, strict=True)
            },
        )

    def _images(self, subject: Subject, corruption: Corruption, severity: int, rows: list[int]) -> Tensor:
        """Corrupted images of the split, N x C x H x W in [0, 1], on the CPU."""
        if self._published:
            return self._published.load(subject.data, corruption, severity, rows)
        clean, _ = subject.images(self.split, rows)
        pixels = (255 * clean).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        seeds = [derive(self.seed, corruption, severity, row) for row in rows]
        corrupted = [
            corrupt(image, corruption, severity, self.constants, np.random.default_rng(seed))
            for image, seed in zip(pixels, seeds, strict=True)
        ]
        return torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2).float() / 255

    @property
    def _cases(self) -> list[tuple[Corruption, int]]:
        """The corruption and severity of each shard."""
        return [(corruption, severity) for corruption in self.corruptions for severity in SEVERITIES]

    @property
    def _published(self) -> CorruptedFiles | None:
        return corrupted_files(self.files, self.root) if self.files else None

    @property
    def _has_mce(self) -> bool:
        return self.files == "ImageNet-C" and set(self.corruptions) == set(CORRUPTIONS)


def _mean(title: str, shares: np.ndarray, table: str = "", better: Literal["higher", "lower"] = "higher") -> Score:
    """The mean of a share of each image, N, in %, with its interval over images."""
    value, n = 100 * float(shares.mean()), len(shares)
    low, high = mean_interval(value, 100 * float(shares.std()), n)
    high = min(100.0, high) if better == "higher" else high
    return Score(title=title, value=value, low=max(0.0, low), high=high, n=n, unit="%", better=better, table=table)
