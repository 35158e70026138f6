"""A run's settings, typed: what stands in config.yaml, and what each field means."""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Strict

from harness.core.registry import make
from harness.core.settings import settings
from harness.evaluation.score import Selection, selections

Part = dict[str, Any]
"""A component as its yaml has it; what it is built as checks its fields."""

Integer = Annotated[int, Strict()]
Truth = Annotated[bool, Strict()]
"""One value, one spelling: true is no number, and 1 is not true."""

Precision = Literal["fp32", "tf32", "bf16"]


def _off(value: object) -> object:
    """yaml reads a bare off as false."""
    return "off" if value is False else value


def _topics(value: object) -> object:
    """The first runs had a list of notes, which was empty."""
    return {} if value == [] else value


def _parse_selections(value: object) -> object:
    """The first runs had a text for each choice."""
    return selections(value) if isinstance(value, dict) else value


@settings
class Config:
    """The settings of a run. Components are mappings here; harness/runs/build.py builds them."""

    method: Part
    """What is trained and how, from configs/method and configs/recipe; `name` says which."""
    data: Part
    """The dataset, from configs/data."""
    model: Part
    """The net, and mean and std by which pixels are standardised, from configs/model."""
    outliers: Part
    """Images that walks start from, from configs/outliers."""
    protocol: Part
    """How the run is evaluated, from configs/protocol."""
    launcher: Part = field(default_factory=lambda: {"name": "local"})
    """Where the run executes, from configs/launcher."""
    seed: Integer = 0
    """The root of all randomness."""

    selection: Annotated[dict[str, Selection], BeforeValidator(_parse_selections)] = field(default_factory=dict)
    """What was chosen, by what and on which splits; [] where it was not tuned. What saw test images is not ranked."""
    notes: Annotated[dict[str, str], BeforeValidator(_topics)] = field(default_factory=dict)
    """Deviations from the published setting, by topic: footnotes of the leaderboard."""
    study: dict[str, float] = field(default_factory=dict)
    """The factors that a study varies, by name; its runs are shown as a map, not as rows."""
    customary: dict[str, str | float | None] = field(default_factory=dict)
    """What protocols for several datasets take from the data: an extractor, a radius, a related OOD set."""

    init: str | None = None
    """A checkpoint to begin from, in place of every stage before the last."""
    init_accuracy: float | None = None
    """The clean accuracy, in %, that `init` must reach on validation images; null: 20, and three times chance."""
    init_digest: str | None = None
    """The sha256 of `init` when the run was frozen."""

    precision: Precision = "fp32"
    """In which numbers nets compute when they learn."""
    walk_precision: Precision = "fp32"
    """In which numbers nets compute on the walks of training. Samples and scores are always fp32."""

    runs: str = "runs"
    """The folder of all runs."""
    reports: str = "reports"
    """The folder of leaderboards and pictures."""
    tracking: Annotated[str | None, BeforeValidator(_off)] = None
    """The MLflow store: a URI, null for a sqlite file in the folder of runs, off for none."""
    tracking_model: Truth = True
    """Whether MLflow gets the weights of runs that are done."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1."""
    threads: Integer | None = None
    """CPU threads of a run; null is torch's choice, with launcher=processes the run's share of the cores."""
    workers: Integer = 0
    """Processes that load images, for each stream."""
    evaluators: Integer | None = None
    """Processes that share an evaluation; null: one for each GPU with launcher=local and device=auto, else one."""
    microbatch: Integer | None = None
    """Images that the net takes at a time in evaluation; null: all of a chunk."""
    extractors: dict[str, str | None] = field(default_factory=dict)
    """Weights files of feature extractors; null: fetched once, into torch's cache."""
    accumulate: Integer = 1
    """In how many pieces a process works through its part of a training batch."""
    compile: Truth = False
    """Whether nets are compiled by torch.compile while they learn."""
    recompute: Truth = False
    """Whether activations are computed again for gradients, in place of being kept."""
    checkpoint_seconds: float = 60
    """How much training a kill can cost."""
    retry: Truth = False
    """Whether runs that failed are tried again."""

    overrides: list[str] = field(default_factory=list)
    """What was changed from the recipe, as typed."""
    command: str = "python -m harness"
    """What was typed."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be 1 or more, or null for torch's choice, not {self.threads}")
        if self.init_accuracy is not None and not 0 <= self.init_accuracy <= 100:
            raise ValueError(f"init_accuracy must be in [0, 100] %, or null, not {self.init_accuracy}")
        for key in ("evaluators", "microbatch"):
            if (getattr(self, key) or 1) < 1:
                raise ValueError(f"{key} must be 1 or more, or null, not {getattr(self, key)}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be 1 or more, not {self.accumulate}")
        if self.workers < 0 or self.checkpoint_seconds < 0:
            raise ValueError("workers and checkpoint_seconds must be 0 or more")

    def mapping(self) -> Part:
        """The settings as yaml has them; of `init_digest` only where there is one."""
        content = {part.name: getattr(self, part.name) for part in fields(self)}
        content["selection"] = {what: how.model_dump() for what, how in self.selection.items()}
        return {key: value for key, value in content.items() if key != "init_digest" or value}


def config_of(content: Mapping[str, Any]) -> Config:
    """The settings that a mapping holds; UserError where a key is unknown, missing or of the wrong kind."""
    return make(Config, "", dict(content))
