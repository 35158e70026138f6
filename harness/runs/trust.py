"""What we know ourselves of a run that others made: imported.json and verified.json beside its record.

They are written here and never taken from an archive. Imports no torch.
"""

import hashlib
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, Field

from harness.core.errors import UserError, printable
from harness.core.files import write_json
from harness.core.reading import parsed, read_file

Model = TypeVar("Model", bound=BaseModel)

IMPORTED, VERIFIED = "imported.json", "verified.json"
"""Names of the two files, in a run's folder."""


class Imported(BaseModel, frozen=True, extra="forbid"):
    """Where a run came from: the sha256 of the archive, and when it was imported."""

    archive: str
    created: str

    def __str__(self) -> str:
        return f"on {self.created[:10]} from the archive {self.archive[:12]}"


class Comparison(BaseModel, frozen=True, extra="forbid"):
    """One thing that was computed again: what, over how much of it, whether it was the same, and how it differed.

    note: where it differs, and how; or why it was not compared.
    """

    what: str
    result: Literal["same", "differs", "not compared"]
    over: str = ""
    note: str = ""


class Verified(BaseModel, frozen=True, extra="forbid"):
    """What a verification found.

    record: sha256 of the record that was verified. code: the code that verified it. hardware: where. seed: of the
    choice of shards. metrics: the names of the comparisons that are metrics.
    """

    record: str
    code: str
    hardware: str
    created: str
    seed: int
    metrics: list[str]
    comparisons: list[Comparison] = Field(max_length=1000)

    @property
    def differing(self) -> list[Comparison]:
        """The comparisons that failed."""
        return [one for one in self.comparisons if one.result == "differs"]

    @property
    def passed(self) -> bool:
        """Whether a metric was compared, and nothing differed."""
        same = {one.what for one in self.comparisons if one.result == "same"}
        return not self.differing and not same.isdisjoint(self.metrics)

    def __str__(self) -> str:
        done = [f"{one.what} ({one.over})" for one in self.comparisons if one.result == "same"]
        left = [one.what for one in self.comparisons if one.result == "not compared"]
        parts = [f"on {self.created[:10]} by {self.code}: {', '.join(done)}", left and f"not {', '.join(left)}"]
        return "; ".join(filter(None, parts))


def imported(folder: Path) -> Imported | None:
    """How a run came into this folder of runs; None if it was made here."""
    return _read(folder / IMPORTED, Imported)


def verified(folder: Path) -> Verified | None:
    """What the last verification of a run found; None if there was none, or if it was of another record."""
    found = _read(folder / VERIFIED, Verified)
    return found if found and found.record == digest(folder) else None


def digest(folder: Path) -> str:
    """The sha256 of a run's record."""
    return hashlib.sha256(read_file(folder / "record.json")).hexdigest()


def write(folder: Path, note: Imported | Verified) -> Path:
    """Write one of the notes beside a record; return its path."""
    path = folder / (IMPORTED if isinstance(note, Imported) else VERIFIED)
    write_json(path, note.model_dump())
    return path


def is_imported(folder: Path) -> bool:
    """Whether a run was imported, also where the note of it cannot be read."""
    return (folder / IMPORTED).exists()


def marks(folder: Path) -> tuple[str, str, list[str]]:
    """What a report says of a run: how it was imported, how it was verified, and what a verification found wrong."""
    came, found = None, None
    doubts: list[str] = []
    try:
        came, found = imported(folder), verified(folder)
    except (UserError, OSError) as error:
        doubts = [printable(str(error))]
    if found and found.differing:
        first = found.differing[0]
        doubts = [printable(f"its verification failed: {first.what} {first.note}")]
    return str(came or ""), str(found) if found and found.passed else "", doubts


def _read(path: Path, kind: type[Model]) -> Model | None:
    """A note; None if there is none, Damaged if it is anything else."""
    try:
        return parsed(path, kind.model_validate_json)
    except FileNotFoundError:
        return None
