"""Long chains: what samples become when the sampler takes many times its steps."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from harness.core.dataset import Dataset, Split
from harness.core.errors import Diverged
from harness.core.method import Ability
from harness.core.settings import settings
from harness.evaluation.features import enough, missing, source
from harness.evaluation.metric import Metric, Part, Result, Subject, require_images
from harness.evaluation.metrics.fidelity import distance
from harness.evaluation.pictures import Cell, table
from harness.evaluation.reference import reference
from harness.evaluation.samples import SHOWN, Sampling, eight_bits
from harness.evaluation.score import Score

MOST = 1_000
"""The largest factor."""

ROWS = 2
"""Number of rows of SHOWN samples that the picture has for each factor."""

TABLE = "Long chains"


@settings
class LongChains(Metric):
    """The first `count` samples again, drawn by the same method with multiples of its sampler's chosen steps.

    Short chains need not follow the energy's density: Nijkamp et al. (2020, arXiv 1903.12370) found that most published
    samplers draw images after few steps and oversaturated ones after many.
    factors: the multiples. features: the extractor of the Fréchet distance to the training split. against: the split of
    real images whose mean energy is compared. chunk: samples per shard; no result depends on it.
    """

    factors: tuple[int, ...]
    count: int
    chunk: int
    features: str
    against: Split
    needs: ClassVar[tuple[Ability, ...]] = ("classify", "generate")

    def __post_init__(self) -> None:
        if not self.factors or list(self.factors) != sorted(set(self.factors)):
            raise ValueError(f"factors must be one or more and rise, not {list(self.factors)}")
        if not 1 <= self.factors[0] <= self.factors[-1] <= MOST:
            raise ValueError(f"factors must be between 1 and {MOST:,}, not {list(self.factors)}")
        if self.chunk < 1 or self.count < ROWS * SHOWN:
            raise ValueError(f"chunk must be 1 or more, count {ROWS * SHOWN} or more, which the picture shows")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check the extractor's weights, and that there are enough samples and real images for the distance."""
        extractor = source(self.features)
        extractor.ready(weights.get(self.features), data)
        enough(extractor, self.count, "count")
        enough(extractor, data.length("train"), "images of the train split")
        require_images(data, self.against, f"against={self.against}", 2)

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights."""
        return missing(self.features, weights.get(self.features))

    def keys(self, data: Dataset) -> list[str]:
        """Two for each factor."""
        names = source(self.features).distance[1], "energy"
        return [self._key(name, factor) for factor in self.factors for name in names]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk."""
        return min(self.chunk, self.count)

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk at each factor."""
        return len(self.factors) * self._chunks

    def score(self, subject: Subject, shard: int) -> Part:
        """The features and energies of a chunk, in 8 bits as other samples are; or why its chains diverged."""
        assert subject.draw is not None  # the evaluator gives it
        factor, indices = self.factors[shard // self._chunks], self._indices(shard)
        subject.tell(f"{factor} times the steps, samples {indices[0]} to {indices[-1]}")
        features = subject.features(self.features)
        # Chains that diverge are an outcome of their own: the run's samples are those of the chosen steps.
        try:
            stored = eight_bits(subject.draw(factor, indices))
            with torch.no_grad():
                energy = subject.model.energy(stored.float() / 255).double().cpu()
            if not energy.isfinite().all():
                raise Diverged("their energies are not finite")
        except Diverged as error:
            return {"extractor": features.digest, "diverged": str(error)}
        return {
            "extractor": features.digest,
            "features": features(stored)["features"].numpy(),
            "energy": energy.numpy(),
            "shown": stored[: max(0, ROWS * SHOWN - indices[0])].cpu().numpy(),
        }

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The distance and the energies at each factor, and a picture; a factor whose chains diverged has none."""
        extractor = subject.features(self.features)
        extractor.require(parts)
        of_factor = [parts[first : first + self._chunks] for first in range(0, len(parts), self._chunks)]
        chains = {
            factor: chunks
            for factor, chunks in zip(self.factors, of_factor, strict=True)
            if not any("diverged" in part for part in chunks)
        }
        lost = [f"the chains of {factor} times the steps diverged" for factor in self.factors if factor not in chains]
        warnings = [*extractor.warnings, *lost]
        # Energies count in standard deviations of the real images', for their scale is the model's own.
        against = reference(extractor, subject.data, "train", subject.cache).statistics
        real = -subject.logits(self.against)[0].double().logsumexp(1)
        mean, sd = float(real.mean()), float(real.std())
        scores: dict[str, Score] = {}
        lines: list[dict[str, float]] = []
        for factor, chunks in chains.items():
            found, energy = (np.concatenate([part[name] for part in chunks]) for name in ("features", "energy"))
            title, key = extractor.source.distance
            score = distance(f"{title} of {len(found)}, {_times(factor)}", torch.from_numpy(found), against)
            line = {"factor": factor, "distance": score.value, "energy": float(energy.mean()), "energy_real": mean}
            figures = {key: score}
            if sd > 0:
                off = abs(line["energy"] - mean) / sd
                title = f"Energy off real images', sd, {_times(factor)}"
                figures["energy"] = Score(title=title, value=off, n=len(energy), better="lower")
            # The distance after the longest chains stands in the main table.
            for name, figure in figures.items():
                main = name == key and factor == self.factors[-1]
                changes = {"warnings": warnings, "table": "" if main else TABLE}
                scores[self._key(name, factor)] = figure.model_copy(update=changes)
            lines.append(line)
        pictures = {"long_chains": lambda path: _draw(chains, path)} if chains else {}
        return Result(scores, pictures=pictures, tables={"long_chains": lines})

    @property
    def _chunks(self) -> int:
        return -(-self.count // self.chunk)

    def _indices(self, shard: int) -> range:
        return range(self.count)[shard % self._chunks * self.chunk :][: self.chunk]

    def _key(self, name: str, factor: int) -> str:
        return f"long_chains/{name}/x{factor}"


def _times(factor: int) -> str:
    return f"{factor} × steps"


def _draw(chains: Mapping[int, list[Part]], path: Path) -> None:
    """Write the first samples at each factor, with the energy of each above it."""
    rows: list[list[Cell]] = []
    for factor, chunks in chains.items():
        shown, energy = (np.concatenate([part[name] for part in chunks]) for name in ("shown", "energy"))
        cells = [
            Cell(torch.from_numpy(image) / 255, f"{factor} ×: E {value:.1f}")
            for image, value in zip(shown, energy, strict=False)
        ]
        rows += [cells[first : first + SHOWN] for first in range(0, len(cells) // SHOWN * SHOWN, SHOWN)]
    table(path, rows)
