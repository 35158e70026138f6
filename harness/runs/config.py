"""The typed settings of a run, as config.yaml holds them, with the meaning of each field."""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt

from harness.core.registry import make
from harness.core.settings import settings
from harness.evaluation.score import Selection, selections

Part = dict[str, Any]
"""A component's config as its yaml has it; the component's class checks the fields when it is built."""

Precision = Literal["fp32", "tf32", "bf16"]


def _off(value: object) -> object:
    """Undo yaml's reading of a bare `off` as false."""
    return "off" if value is False else value


def _topics(value: object) -> object:
    """Read the empty list of notes in the first runs' configs as an empty mapping."""
    return {} if value == [] else value


def _parse_selections(value: object) -> object:
    """Parse selections; the first runs' configs have a string for each choice."""
    return selections(value) if isinstance(value, dict) else value


@settings
class Config:
    """Settings of a run. Components are mappings, which harness/runs/build.py builds.

    Numbers and bools are strict, so that a value has one spelling: true is no number, and 1 is not true.
    """

    method: Part
    """The method and its hyperparameters, from configs/method and configs/recipe; `name` says which method."""
    data: Part
    """The dataset, from configs/data."""
    model: Part
    """The net, and the mean and std that standardise pixels, from configs/model."""
    outliers: Part
    """The images from which walks start, from configs/outliers."""
    protocol: Part
    """How the run is evaluated, from configs/protocol."""
    launcher: Part = field(default_factory=lambda: {"name": "local"})
    """Where the run executes, from configs/launcher."""
    seed: Annotated[StrictInt, Field(ge=-(10**18), le=10**18)] = 0
    """The root of all randomness."""

    selection: Annotated[dict[str, Selection], BeforeValidator(_parse_selections)] = field(default_factory=dict)
    """What each tuned choice was tuned by, and on which splits ([]: not tuned). Tuned on test images: not ranked."""
    notes: Annotated[dict[str, str], BeforeValidator(_topics)] = field(default_factory=dict)
    """Deviations from the published setting, by topic; footnotes of the leaderboard."""
    study: dict[str, float] = field(default_factory=dict)
    """Factors that a study varies, by name; a study's runs are reported as a map, not as leaderboard rows."""
    expected: dict[str, list[float]] = field(default_factory=dict)
    """Published scores by key, each with a tolerance: [value, tolerance]. The command says whether they are met."""
    customary: dict[str, str | float | None] = field(default_factory=dict)
    """Values that protocols for several datasets take from the data: an extractor, a radius, a related OOD set."""

    init: str | None = None
    """A checkpoint to start from; it replaces all stages before the last."""
    weights: Literal["averaged", "raw"] = "averaged"
    """The set of weights to take from `init` if it holds both."""
    init_accuracy: float | None = None
    """Validation accuracy, in %, that `init` must reach; null: the larger of 20 and three times chance."""
    init_digest: str | None = None
    """The sha256 of `init` when the run was frozen; ":raw" or ":averaged" follows if `weights` names the run."""

    precision: Precision = "fp32"
    """Numeric precision of nets in training."""
    walk_precision: Precision = "fp32"
    """Numeric precision of nets on the walks of training. Samples and scores always use fp32."""

    runs: str = "runs"
    """The folder of all runs."""
    reports: str = "reports"
    """The folder of leaderboards and figures."""
    tracking: Annotated[str | None, BeforeValidator(_off)] = None
    """The MLflow store: a URI; null: a sqlite file in the folder of runs; off: none."""
    tracking_model: StrictBool = True
    """Whether the weights of finished runs are sent to MLflow."""

    device: str = "auto"
    """auto, cpu, cuda, or one GPU such as cuda:1."""
    threads: StrictInt | None = None
    """CPU threads of a run; null: torch's default, or with launcher=processes the run's share of the cores."""
    workers: StrictInt = 0
    """Processes that load images, shared by the streams of a process; at least one for each stream, unless it is 0."""
    evaluators: StrictInt | None = None
    """Processes that share an evaluation; null: one for each GPU with launcher=local and device=auto, else one."""
    microbatch: StrictInt | None = None
    """Images per forward pass in evaluation; null: a whole chunk."""
    extractors: dict[str, str | None] = field(default_factory=dict)
    """Weights files of feature extractors; null: downloaded once, into torch's cache."""
    accumulate: StrictInt = 1
    """Gradient accumulation: number of pieces into which a process splits its part of a training batch."""
    compile: StrictBool = False
    """Whether nets are compiled with torch.compile for training."""
    recompute: StrictBool = False
    """Whether activations are recomputed in the backward pass instead of stored (saves memory)."""
    checkpoint_seconds: float = 60
    """Seconds between checkpoints: the most training time that a killed process loses."""
    retry: StrictBool = False
    """Whether failed runs are run again."""
    redo: StrictBool = False
    """Whether what other code made, or what is damaged, is set aside and made again."""
    mixed: StrictBool = False
    """Whether unfinished work of other code is continued; such runs are not ranked."""

    overrides: list[str] = field(default_factory=list)
    """Overrides that change the recipe, as typed."""
    command: str = "python -m harness"
    """The command that was typed."""

    def __post_init__(self) -> None:
        for key, pair in self.expected.items():
            if len(pair) != 2 or pair[1] < 0:
                raise ValueError(f"expected.{key} must be [value, tolerance], not {pair}")
        for key in ("threads", "evaluators", "microbatch"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"{key} must be 1 or more, or null, not {value}")
        if self.init_accuracy is not None and not 0 <= self.init_accuracy <= 100:
            raise ValueError(f"init_accuracy must be in [0, 100] %, or null, not {self.init_accuracy}")
        if self.accumulate < 1:
            raise ValueError(f"accumulate must be 1 or more, not {self.accumulate}")
        if self.workers < 0 or self.checkpoint_seconds < 0:
            raise ValueError("workers and checkpoint_seconds must be 0 or more")

    def mapping(self) -> Part:
        """The settings as a mapping for yaml; `init_digest` is left out if it is not set."""
        content = {part.name: getattr(self, part.name) for part in fields(self)}
        content["selection"] = {what: choice.model_dump() for what, choice in self.selection.items()}
        return {key: value for key, value in content.items() if key != "init_digest" or value}


def config_of(content: Mapping[str, Any]) -> Config:
    """Config from a mapping; UserError if a key is unknown, missing or of the wrong type."""
    return make(Config, "", dict(content))
