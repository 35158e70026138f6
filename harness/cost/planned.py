"""Runs that are planned before their data and initial weights are on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.registry import build
from harness.launch.preflight import check_plan
from harness.runs import fetch
from harness.runs.config import Config
from harness.runs.run import UNKNOWN, Run, run_name
from harness.runs.standin import RandomImages


@dataclass(frozen=True)
class Planned(Run):
    """A run whose missing files are replaced by what is known without them, so that its stages and costs are too."""

    @cached_property
    def data(self) -> Dataset:
        """The dataset; if it is a published one and not here, as many random images. UserError if it is another."""
        data = build("data", self.config.data)
        try:
            data.ready()
        except UserError:
            if not {"train", "test", "classes"} <= self.config.customary.keys():
                raise
            return _as_published(data, self.config)
        return data

    @cached_property
    def init(self) -> str | None:
        """Digest of the initial weights; UNKNOWN if they are not here, so that nothing is fetched."""
        if self.config.init and not self.config.init_digest and fetch.here(self.config.init) is None:
            return UNKNOWN
        return super().init

    @property
    def name(self) -> str:
        """Name of the run, which ends in UNKNOWN if it depends on weights that are not here."""
        if self.init != UNKNOWN:
            return super().name
        return run_name(self.config.method["name"], self.config.data["name"], self.config.seed, UNKNOWN)


def planned(configs: Sequence[Config]) -> list[Run]:
    """The runs of some configs, which fetch nothing; UserError with all that is wrong with them."""
    kept = [{part: getattr(c, part) | {"download": False} for part in fetching(c)} for c in configs]
    return check_plan([Planned(replace(config, **parts)) for config, parts in zip(configs, kept, strict=True)])


def fetching(config: Config) -> list[str]:
    """The parts of a config that would fetch files."""
    return [part for part in ("data", "outliers") if getattr(config, part).get("download")]


def _as_published(data: Dataset, config: Config) -> Dataset:
    """Random images: as many as the published dataset has in each split, in as many classes."""
    train, test, classes = (int(config.customary[key]) for key in ("train", "test", "classes"))  # type: ignore[arg-type]
    validation = int(config.data["validation"])
    lengths = {"train": train - validation, "validation": validation, "test": test}
    return RandomImages(data.shape, classes, lengths)  # type: ignore[arg-type]
