"""The typed result of a run, in a file that is written atomically."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, FiniteFloat

from harness.core.errors import UserError
from harness.core.files import write_text
from harness.evaluation.score import Score, Selection, selections

State = Literal["done", "diverged", "skipped"]
OVER: tuple[State, ...] = get_args(State)
"""The states of a run that has its record."""


class ProtocolTag(BaseModel, frozen=True, extra="forbid"):
    """The protocol of an evaluation; numbers of different protocols are never ranked together.

    label: a remark that is shown wherever its numbers appear, such as "for trying out".
    """

    id: str
    hash: str
    label: str = ""


class StageCost(BaseModel, frozen=True, extra="forbid"):
    """Cost of training a stage; a stage that several runs share is counted in each of them.

    skipped: number of image files that could not be read. processes and accumulate: how batches were split.
    statistics: the images that batch normalisation computed its statistics over. made_with: all code versions that
    trained it. joules: energy of the GPUs, including other work on them; null if they do not report it. weights: digest
    of the trained weights; empty if an older version trained them.
    """

    name: str
    fingerprint: str
    steps: int
    images: int
    seconds: float
    images_per_second: float
    peak_memory_mb: int
    resumed: int
    skipped: int = 0
    processes: int = 1
    accumulate: int = 1
    statistics: str = ""
    made_with: list[str] = []
    joules: float | None = None
    weights: str = ""


class Cost(BaseModel, frozen=True, extra="forbid"):
    """Cost of a run: seconds of training (all stages) and of evaluation, and the peak memory of both."""

    stages: list[StageCost]
    training_seconds: float
    evaluation_seconds: float
    peak_memory_mb: int

    @property
    def training_kwh(self) -> float | None:
        """Energy of the GPUs in training, in kWh; None if it is unknown for a stage."""
        joules = [stage.joules for stage in self.stages]
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
    data_used: digest of each split. extractors: sha256 of the weights of each feature extractor.
    """

    schema_version: Literal[2] = 2
    fingerprint: str
    series: str
    state: State
    reason: str = ""
    method: str
    data: str
    model: str
    parameters: int = 0
    seed: int
    init: str = ""
    canaries: dict[str, FiniteFloat] = {}
    overrides: list[str] = []
    selection: dict[str, Selection] = {}
    notes: dict[str, str] = {}
    study: dict[str, float] = {}
    protocol: ProtocolTag
    scores: dict[str, Score] = {}
    outcomes: dict[str, str] = {}
    code: Code | None = None
    mixed: list[str] = []
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
    """Read a record of this schema or the one before; UserError if it is neither."""
    with _explain_errors(path):
        return Record.model_validate(_upgrade(json.loads(path.read_bytes()), path))


def read_state(path: Path) -> dict[str, Any]:
    """Read a record's JSON, checking only its state (fast: thousands per second); UserError if the state is invalid."""
    with _explain_errors(path):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("state") not in OVER:
            raise ValueError(f"its state is none of {', '.join(OVER)}")
        return content


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable record: {error}\nRemove it and run again to make it anew.") from None


def _upgrade(content: Any, path: Path) -> Any:  # noqa: ANN401 - whatever json holds
    """Convert a record's content to the present schema; content that is no dict is left for pydantic to refuse."""
    if not isinstance(content, dict):
        return content
    version = content.get("schema_version")
    if version not in (1, 2):
        raise UserError(
            f"{path} has schema version {version}, but this harness reads 1 and 2. Read it with the harness that wrote "
            "it, or a later one; or remove it and run again to make it anew."
        )
    notes = content.get("notes") or {}  # the first records had an empty list
    return {**content, "schema_version": 2, "selection": selections(content.get("selection", {})), "notes": notes}
