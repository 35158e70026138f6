"""The sampler's number of steps: chosen before samples are reported, on statistics that are not reported."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from harness.core.dataset import Dataset, Split
from harness.core.method import Method
from harness.core.settings import settings
from harness.evaluation.features import enough, missing, source
from harness.evaluation.metric import Subject
from harness.evaluation.parts import read_mark, write_mark
from harness.evaluation.reference import frechet, reference
from harness.evaluation.samples import Samples, Sampling
from harness.evaluation.score import Selection

MOST = 100
"""The most candidates, each of which draws samples."""


@settings
class Steps:
    """The choice of the sampler's number of steps, by the Fréchet distance of `count` samples.

    factors, offsets: the candidates, as multiples of the recipe's number and as differences from it.
    against: the split whose statistics are the reference. features: the extractor.
    fresh: draw separate samples, numbered after the reported ones, with other seeds, and other starts if the source of
    outliers has enough; else use the first of the reported samples, as in the authors' protocol.
    """

    count: int
    against: Split
    features: str
    factors: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    fresh: bool = True

    def __post_init__(self) -> None:
        if not self.factors and not self.offsets:
            raise ValueError("factors or offsets must name candidates")
        if any(factor <= 0 for factor in self.factors):
            raise ValueError(f"factors must be above 0, not {list(self.factors)}")
        if len(self.factors) + len(self.offsets) > MOST:
            raise ValueError(f"factors and offsets may name {MOST} candidates at most")

    def ready(self, data: Dataset, weights: Mapping[str, str | None]) -> None:
        """UserError if there are too few images to compare candidates, or the extractor is unavailable."""
        extractor = source(self.features)
        extractor.ready(weights.get(self.features), data)
        enough(extractor, self.count, "protocol.selection.count")
        enough(extractor, data.length(self.against), f"images of the {self.against} split")

    def missing(self, weights: Mapping[str, str | None]) -> list[str]:
        """The extractor's weights, if they are not on this machine."""
        return missing(self.features, weights.get(self.features))

    def candidates(self, steps: int) -> list[int]:
        """The candidate numbers of steps, ascending; empty if the sampler takes no step or there is only one."""
        numbers = {max(1, round(steps * factor)) for factor in self.factors}
        numbers |= {max(1, steps + offset) for offset in self.offsets}
        return sorted(numbers) if steps and len(numbers) > 1 else []

    def samples(self, folder: Path, how: Sampling, steps: int) -> Samples:
        """The samples of a candidate, in their folder."""
        first = how.count if self.fresh else 0
        return Samples(folder / "selection" / f"{steps}", replace(how, count=self.count), first)

    def choose(self, subject: Subject, folder: Path, how: Sampling, steps: int, code: Mapping[str, str]) -> None:
        """Record the nearest candidate (with ties, the one with fewest steps), then delete the candidates' samples."""
        if (folder / "selection.json").exists():
            shutil.rmtree(folder / "selection", ignore_errors=True)  # a killed process may have left some of it
            return
        features = subject.features(self.features)
        against = reference(features, subject.data, self.against, subject.cache).statistics
        distances = {
            str(candidate): frechet(
                torch.cat([features(images)["features"] for images in self.samples(folder, how, candidate)]), against
            )
            for candidate in self.candidates(steps)
        }
        chosen = int(min(distances, key=lambda candidate: (distances[candidate], int(candidate))))
        write_mark(folder / "selection.json", code, None, {"steps": chosen, "distances": distances})
        shutil.rmtree(folder / "selection")

    def selection(self, folder: Path) -> dict[str, Selection]:
        """The record's description of the choice."""
        path = folder / "selection.json"
        if not path.exists():
            return {}
        choice = read_mark(path)
        others = ", ".join(choice["distances"])
        which = "not reported" if self.fresh else "also reported"
        name = source(self.features).distance[0]
        by = f"{name} of {self.count} samples that are {which}: {choice['steps']} of {others}"
        return {"sampler: number of steps": Selection(by=by, split=[self.against])}


def with_chosen_steps(method: Method, folder: Path) -> Method:
    """The method with the chosen number of sampler steps, if one was chosen."""
    path = folder / "selection.json"
    return with_steps(method, read_mark(path)["steps"]) if path.exists() else method


def with_steps(method: Method, steps: int) -> Method:
    """The method with a different number of sampler steps."""
    return replace(method, sampler=replace(method.sampler, steps=steps))  # pyright: ignore[reportArgumentType]
