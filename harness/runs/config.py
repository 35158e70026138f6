"""The typed settings of a run, as config.yaml holds them, with the meaning of each field."""

import math
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr, StringConstraints

from harness.core.errors import LONGEST, UserError, cut, short
from harness.core.reading import DEEPEST
from harness.core.registry import make
from harness.core.settings import settings
from harness.evaluation.score import Selection, selections

Part = dict[str, Any]
"""A component's config as its yaml has it; the component's class checks the fields when it is built."""

AUTO = "auto"
"""A net's mean and std, where they are to be those of the data."""

NOTED = ("init_digest", "labelled")
"""Settings that a run notes itself."""

TOO_LARGE = 2**63
"""Whole numbers lie in [-TOO_LARGE, TOO_LARGE): 64 bits, as tensors, generators and databases have them."""

Text = Annotated[str, StringConstraints(min_length=1)]
"""A text with at least one character."""


def _check_length(path: str) -> str:
    """Check that a file system can hold a path: 255 bytes for each name, and 4,095 for all."""
    if len(path.encode()) > 4095 or any(len(name.encode()) > 255 for name in path.split("/")):
        raise ValueError(f"this path is too long: {short(path)}")
    return path


PathText = Annotated[Text, AfterValidator(_check_length)]
"""The path of a file or folder."""

AtMost1024 = Annotated[StrictInt, Field(ge=1, le=1024)]
"""A number of threads or processes of one machine."""


@settings
class Protocol:
    """The fields of a protocol; its metrics, samples and selection are checked by the classes that they describe."""

    id: Annotated[StrictStr, StringConstraints(min_length=1)]
    metrics: dict[str, Part]
    samples: Part = field(default_factory=dict)
    selection: Part | None = None
    label: StrictStr = ""


def _check_name(part: Part) -> Part:
    """Check that a component says which class it is."""
    if not (isinstance(part.get("name"), str) and part["name"]):
        raise ValueError("its field `name` must be a text that names it")
    return part


def _check_protocol(part: Part) -> Part:
    """Check a protocol's own fields."""
    make(Protocol, "protocol", part)
    return part


Component = Annotated[Part, AfterValidator(_check_name)]
"""The config of a class, whose field `name` says which."""

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

    method: Component
    """The method and its hyperparameters, from configs/method and configs/recipe; `name` says which method."""
    data: Component
    """The dataset, from configs/data."""
    model: Component
    """The net, and the mean and std that standardise pixels, from configs/model."""
    outliers: Component
    """The images from which walks start, from configs/outliers."""
    protocol: Annotated[Part, AfterValidator(_check_protocol)]
    """How the run is evaluated, from configs/protocol."""
    launcher: Component = field(default_factory=lambda: {"name": "local"})
    """Where the run executes, from configs/launcher."""
    seed: Annotated[StrictInt, Field(ge=-(10**18), le=10**18)] = 0
    """The root of all randomness."""
    budget: Annotated[float, Field(gt=0, le=100)] = 1.0
    """What the epochs, milestones and warm-up of every stage are multiplied by."""

    selection: Annotated[dict[str, Selection], BeforeValidator(_parse_selections)] = field(default_factory=dict)
    """What each tuned choice was tuned by, and on which splits ([]: not tuned). Tuned on test images: not ranked."""
    notes: Annotated[dict[str, str], BeforeValidator(_topics)] = field(default_factory=dict)
    """Deviations from the published setting, by topic; footnotes of the leaderboard."""
    study: dict[str, float] = field(default_factory=dict)
    """Factors that a study varies, by name; a study's runs are reported as a map, not as leaderboard rows."""
    expected: dict[str, list[float]] = field(default_factory=dict)
    """Published scores by key, each with a tolerance: [value, tolerance]. The command says whether they are met."""
    customary: dict[str, str | float | list[float] | None] = field(default_factory=dict)
    """What is known of the data without its files: values that nets and protocols take from it (mean and std of its
    pixels, an extractor, a radius, a related OOD set), and its published images (train, test) and classes."""

    init: PathText | None = None
    """A checkpoint to start from; it replaces all stages before the last."""
    weights: Literal["averaged", "raw"] = "averaged"
    """The set of weights to take from `init` if it holds both."""
    init_accuracy: Annotated[float, Field(ge=0, le=100)] | None = None
    """Validation accuracy, in %, that `init` must reach; null: the larger of 20 and three times chance."""
    init_digest: str | None = None
    """The sha256 of `init` when the run was frozen; ":raw" or ":averaged" follows if `weights` names the run."""
    labelled: StrictBool = False
    """Whether given samples come with labels, which their digest covers."""

    precision: Precision = "fp32"
    """Numeric precision of nets in training."""
    walk_precision: Precision = "fp32"
    """Numeric precision of nets on the walks of training. Samples and scores always use fp32."""

    runs: PathText = "runs"
    """The folder of all runs."""
    reports: PathText = "reports"
    """The folder of leaderboards and figures."""
    tracking: Annotated[Text | None, BeforeValidator(_off)] = None
    """The MLflow store: a URI; null: a sqlite file in the folder of runs; off: none."""
    tracking_model: StrictBool = True
    """Whether the weights of finished runs are sent to MLflow."""

    device: str = "auto"
    """auto, cpu, cuda, or one GPU such as cuda:1."""
    threads: AtMost1024 | None = None
    """CPU threads of a run; null: torch's default, or with launcher=processes the run's share of the cores."""
    workers: Annotated[StrictInt, Field(ge=0, le=1024)] = 0
    """Processes that load images, for each process of a run; training's streams share them, at least one for each."""
    evaluators: AtMost1024 | None = None
    """Processes that share an evaluation; null: one for each GPU with launcher=local and device=auto, else one."""
    microbatch: Annotated[StrictInt, Field(ge=1)] | None = None
    """Images per forward pass in evaluation; null: a whole chunk."""
    extractors: dict[str, str | None] = field(default_factory=dict)
    """Weights files of feature extractors; null: downloaded once, into torch's cache."""
    accumulate: Annotated[StrictInt, Field(ge=1)] = 1
    """Gradient accumulation: number of pieces into which a process splits its part of a training batch."""
    compile: bool | Literal["walk"] = False
    """Whether nets are compiled with torch.compile for training; walk: on the walks of training alone."""
    recompute: StrictBool = False
    """Whether activations are recomputed in the backward pass instead of stored (saves memory)."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60
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

    @property
    def shown_budget(self) -> str:
        """The budget, as a table shows it; empty if it is 1."""
        return f"budget {self.budget:g}" if self.budget != 1 else ""

    def mapping(self) -> Part:
        """The settings as a mapping for yaml; those of NOTED are left out if they are not set."""
        content = {part.name: getattr(self, part.name) for part in fields(self)}
        content["selection"] = {what: choice.model_dump() for what, choice in self.selection.items()}
        return {key: value for key, value in content.items() if key not in NOTED or value}


def config_of(content: Mapping[str, Any]) -> Config:
    """Config from a mapping; UserError if a key is unknown, missing or of the wrong type."""
    _check_values(content, "")
    return make(Config, "", dict(content))


def thawed(content: Mapping[str, Any]) -> Config:
    """Config from a frozen one, whatever else stands there: fields of other versions are ignored. Errors as above."""
    known = {part.name for part in fields(Config)}
    return config_of({key: value for key, value in content.items() if key in known})


def _check_values(value: Any, key: str, depth: int = 0) -> None:  # noqa: ANN401 - whatever yaml holds
    """UserError, with the key, for a value at any depth that cannot be named, written, read again or computed with."""
    if isinstance(value, Mapping | list | tuple) and depth == DEEPEST:
        raise UserError(f"{cut(key, LONGEST)}: it is nested more than {DEEPEST} levels deep")
    if isinstance(value, Mapping):
        for name, part in value.items():
            if not isinstance(name, str):
                raise UserError(f"{key}: a key must be a text, not {short(name)}: put quotes around it")
            _check_values(part, f"{key}.{name[:LONGEST]}".removeprefix("."), depth + 1)
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            _check_values(part, f"{key}.{index}", depth + 1)
    elif isinstance(value, str):
        if "\0" in value or value.encode(errors="ignore").decode() != value:
            raise UserError(f"{key}: a text must consist of Unicode characters other than NUL, not {short(value)}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise UserError(f"{key}: a finite number is expected, not {value}")
    elif isinstance(value, int):
        if not -TOO_LARGE <= value < TOO_LARGE:
            raise UserError(f"{key}: a 64-bit number is expected, not {short(value)}")
    elif value is not None and not isinstance(value, Selection):
        raise UserError(f"{key}: a text, a number, true, false or null is expected, not {short(value)}")
