"""The typed result of a run, in a file that is written atomically."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from harness.core.errors import Unreadable, UserError
from harness.core.files import valid_name, write_text
from harness.core.reading import parse_json, read_file
from harness.evaluation.score import Count, Number, Score, Selection, selections

State = Literal["done", "diverged", "collapsed", "skipped"]
OVER: tuple[State, ...] = get_args(State)
"""The states of a run that has its record."""

REMEDY = "Remove it and run again to make a new one."


def _name(text: str) -> str:
    """Check a text that becomes part of a path."""
    try:
        return valid_name(text)
    except UserError as error:
        raise ValueError(error) from None


Name = Annotated[str, AfterValidator(_name)]
"""A text that becomes part of a path."""

Seed = Annotated[int, Field(ge=-(10**18), le=10**18)]


class ProtocolTag(BaseModel, frozen=True, extra="forbid"):
    """The protocol of an evaluation; numbers of different protocols are never ranked together.

    label: a remark that is shown wherever its numbers appear, such as "for trying out".
    """

    id: Name
    hash: Name
    label: str = ""


class StageCost(BaseModel, frozen=True, extra="forbid"):
    """Cost of training a stage; a stage that several runs share is counted in each of them.

    skipped: number of image files that could not be read. processes and accumulate: how batches were split.
    statistics: the images that batch normalisation computed its statistics over. made_with: all code versions that
    trained it. joules: energy of the GPUs, including other work on them; null if they do not report it. cpu_joules: the
    same of the CPUs and their memory. weights: digest of the trained weights; empty if an older version trained them.
    """

    name: Name
    fingerprint: Name
    steps: Count
    images: Count
    seconds: Number
    images_per_second: Number
    peak_memory_mb: Count
    resumed: Count
    skipped: Count = 0
    processes: Count = 1
    accumulate: Count = 1
    statistics: str = ""
    made_with: list[str] = []
    joules: Number | None = None
    cpu_joules: Number | None = None
    weights: str = ""


class SamplingCost(BaseModel, frozen=True, extra="forbid"):
    """Cost of drawing samples: seconds of a process for so many images.

    passes, flop: for each image, its passes of the net, each with its gradient, and their floating-point operations.
    """

    images: Count
    seconds: Number
    passes: Count
    flop: Count

    @property
    def images_per_second(self) -> float | None:
        """The pace of one process; None if it took no time that was measured."""
        return self.images / self.seconds if self.seconds else None


class Cost(BaseModel, frozen=True, extra="forbid"):
    """Cost of a run: seconds of training (all stages) and of evaluation, and the peak memory of both.

    sampling: null if nothing was drawn by a net, or in part by an older version, which did not measure. training_flop:
    null if it cannot be counted, or in records of older versions, for which reports count it.
    """

    stages: list[StageCost]
    training_seconds: Number
    evaluation_seconds: Number
    peak_memory_mb: Count
    sampling: SamplingCost | None = None
    training_flop: Number | None = None

    @property
    def training_kwh(self) -> float | None:
        """Energy of the GPUs in training, in kWh; None if it is unknown for a stage."""
        return _kwh([stage.joules for stage in self.stages])

    @property
    def cpu_kwh(self) -> float | None:
        """Energy of the CPUs in training, in kWh; None if it is unknown for a stage."""
        return _kwh([stage.cpu_joules for stage in self.stages])


def _kwh(joules: list[float | None]) -> float | None:
    return None if None in joules or not joules else sum(filter(None, joules)) / 3.6e6


class Origin(BaseModel, frozen=True, extra="forbid"):
    """The command, code, packages and hardware that the numbers come from.

    dirty: whether tracked files differ from the commit, or files were imported that git does not track. capability:
    the CPU's vector instructions, as torch and oneDNN use them.
    """

    command: str
    created: str
    commit: str
    dirty: bool
    python: str
    packages: dict[str, str]
    hardware: str
    device: str
    threads: int
    precision: str
    capability: str = ""


class Code(BaseModel, frozen=True, extra="forbid"):
    """Digests by module: of the parts, and of the engine; edited: modules of the engine that differ from the commit."""

    parts: dict[str, str]
    engine: dict[str, str]
    edited: list[str] = []

    @property
    def digest(self) -> str:
        """Twelve hex digits of the digests of the parts."""
        return hashlib.sha256(json.dumps(self.parts, sort_keys=True).encode()).hexdigest()[:12]

    def changes(self, now: Self) -> list[str]:
        """The modules of `now` that count and differ from these."""
        return self.changed_parts(now.parts) + [
            name
            for name, digest in now.engine.items()
            if name in {*self.edited, *now.edited} and self.engine.get(name) != digest
        ]

    def changed_parts(self, now: Mapping[str, str]) -> list[str]:
        """The modules among `now` that differ from these."""
        return [name for name, digest in now.items() if self.parts.get(name) != digest]


class Record(BaseModel, frozen=True, extra="forbid"):
    """The result of a run.

    series: fingerprint of the config without its seed; records of one series are repeats of one experiment.
    overrides: changes to the recipe. selection: what was tuned, and on which splits. notes: deviations from the
    published setting, by topic. study: the factors of a study, by name. init: sha256 of the initial weights; empty if
    they were drawn from the seed. canaries: figures of the checks before the evaluation. outcomes: for each attack or
    metric, one character per test image in test order, 1 for correct and 0 for wrong. code: digests of the code of the
    evaluation; null if an older version made the record. mixed: modules that changed between parts of the run.
    not_given: keys of the protocol's scores that the method cannot have, for it does not classify, does not generate,
    or not for a given class.
    data_used: digest of each split. extractors: sha256 of the weights of each feature extractor.
    """

    schema_version: Literal[2] = 2
    fingerprint: Name
    series: str
    state: State
    reason: str = ""
    method: Name
    data: Name
    model: str
    parameters: Count = 0
    seed: Seed
    init: str = ""
    canaries: dict[str, Number] = {}
    overrides: list[str] = []
    selection: dict[str, Selection] = {}
    notes: dict[str, str] = {}
    study: dict[Name, Number] = {}
    protocol: ProtocolTag
    scores: dict[str, Score] = {}
    outcomes: dict[str, str] = {}
    code: Code | None = None
    mixed: list[str] = []
    not_given: list[str] = []
    data_used: dict[str, str] = {}
    extractors: dict[str, str] = {}
    cost: Cost | None = None
    origin: Origin

    def result(self) -> dict[str, object]:
        """All fields except cost and origin; they must not depend on time, machine or interruptions."""
        return self.model_dump(exclude={"cost", "origin"})


def write(path: Path, record: Record) -> None:
    """Write a record atomically."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Record:
    """Read a record of this schema or the one before; Unreadable if it is neither."""
    content = read_file(path)
    try:
        return Record.model_validate_json(content)  # checks and parses at once, in less time than json.loads parses
    except ValidationError:
        pass
    # It is of the schema before, or it is wrong: find out.
    try:
        return Record.model_validate(_upgrade(parse_json(content), path))
    except ValueError as error:
        raise Unreadable(path, explain(error), REMEDY, "is not a readable record") from None


def explain(error: ValueError) -> str:
    """What is wrong, of several things the first, and where."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_context=False)[0]
    where, text = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text


def _upgrade(content: Any, path: Path) -> Any:  # noqa: ANN401 - whatever json holds
    """Convert a record's content to the present schema; content that is no dict is left for pydantic to refuse."""
    if not isinstance(content, dict):
        return content
    version = content.get("schema_version")
    if version not in (1, 2):
        remedy = f"Read it with the harness that wrote it, or a later one. {REMEDY}"
        reason = f"it has schema version {version}, but this harness reads 1 and 2"
        raise Unreadable(path, reason, remedy, "is not a readable record")
    chosen, notes = content.get("selection") or {}, content.get("notes") or {}  # the first records had an empty list
    if isinstance(chosen, dict):  # else pydantic refuses it
        chosen = selections(chosen)
    return {**content, "schema_version": 2, "selection": chosen, "notes": notes}
