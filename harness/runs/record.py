"""The typed result of a run, written whole or not at all."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, FiniteFloat

from harness.core.errors import UserError
from harness.core.files import write_text
from harness.evaluation.score import Score, Selection, selections

State = Literal["done", "diverged", "skipped"]
OVER: tuple[State, ...] = get_args(State)
"""The states of a run that has its record."""


class ProtocolTag(BaseModel, frozen=True, extra="forbid"):
    """Which protocol judged; numbers of different tags are never ranked together.

    label: what must be said wherever its numbers appear, such as "for trying out".
    """

    id: str
    hash: str
    label: str = ""


class StageCost(BaseModel, frozen=True, extra="forbid"):
    """What a stage's training took; a stage shared with other runs is counted in each.

    skipped: image files that could not be read and were passed over. processes and accumulate: how a batch was shared,
    and statistics: what batch normalisation then saw at a time. made_with: the code that trained it, all there were.
    joules: energy of the GPUs, other work on them included; null where they do not tell.
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


class Cost(BaseModel, frozen=True, extra="forbid"):
    """What the run took: seconds of training (all stages), of evaluation, and the peak memory of either."""

    stages: list[StageCost]
    training_seconds: float
    evaluation_seconds: float
    peak_memory_mb: int

    @property
    def training_kwh(self) -> float | None:
        """Energy of the GPUs in training, in kWh; None where one of the stages does not tell."""
        found = [stage.joules for stage in self.stages]
        return None if None in found or not found else sum(filter(None, found)) / 3.6e6


class Origin(BaseModel, frozen=True, extra="forbid"):
    """Where the numbers come from."""

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


class Record(BaseModel, frozen=True, extra="forbid"):
    """The result of a run.

    series: the fingerprint of the config without its seed; records of one series are repeats of one experiment.
    overrides: what was changed from the recipe. selection: what was chosen, and on which split. notes: deviations
    from the published setting, by topic. study: the factors of a study, by name. init: the sha256 of the weights
    that it began from, where they were not its seed's. canaries: the figures of the checks before the evaluation.
    outcomes: per attack or metric, one character per test image, 1 for right and 0 for wrong, in test order.
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
    cost: Cost | None = None
    origin: Origin

    def result(self) -> dict[str, object]:
        """What must not depend on time, place or interruption: all but cost and origin."""
        return self.model_dump(exclude={"cost", "origin"})


def write(path: Path, record: Record) -> None:
    """Write a record, whole or not at all."""
    write_text(path, record.model_dump_json(indent=2) + "\n")


def read(path: Path) -> Record:
    """Read a record, of this schema or of the one before it; UserError if it is neither."""
    with _readable(path):
        return Record.model_validate(_upgraded(json.loads(path.read_bytes()), path))


def read_state(path: Path) -> dict[str, Any]:
    """A record as its JSON has it, checked for its state alone: thousands a second. UserError if it has none."""
    with _readable(path):
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict) or content.get("state") not in OVER:
            raise ValueError(f"its state is none of {', '.join(OVER)}")
        return content


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable record: {error}\nRemove it and run again to make it anew.") from None


def _upgraded(content: Any, path: Path) -> Any:  # noqa: ANN401 - whatever json holds
    """The content of a record of any schema as the present one has it; what is no record is left to pydantic."""
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
