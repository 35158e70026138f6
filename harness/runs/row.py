"""The runs that a report is about, a row each: the same rows from the folders of runs and from MLflow, its mirror."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic_core import to_json

from harness.core.errors import UserError
from harness.runs import record
from harness.runs import run as runs
from harness.runs.record import Cost, Origin, ProtocolTag, Score, Selection
from harness.runs.run import OVER, Config, Run, RunState

if TYPE_CHECKING:
    import pandas as pd

Find = Callable[[str], Path | None]
"""Where a file of a run's folder can be read by now; None if there is none of that name."""

TEXTS = ("name", "fingerprint", "series", "method", "data", "model", "state", "reason", "overrides", "init")
JSON = ("seed", "parameters", "canaries", "notes", "study", "selection", "cost", "origin")
"""Facts that MLflow keeps as texts, and those that it keeps as JSON."""


@dataclass(frozen=True)
class Row:
    """A run's facts, as tables need them; what only a page of the run itself needs stands in its files.

    state: also of runs without a record, which have no scores, cost and origin. overrides: what was changed from the
    recipe. parameters: 0 where no net was built. A score bears only the beginnings of its warnings.
    """

    name: str
    fingerprint: str
    series: str
    method: str
    data: str
    model: str
    seed: int
    state: str
    protocol: ProtocolTag
    reason: str = ""
    overrides: str = ""
    parameters: int = 0
    init: str = ""
    canaries: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    study: dict[str, float] = field(default_factory=dict)
    selection: dict[str, Selection] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    cost: Cost | None = None
    origin: Origin | None = None
    find: Find = field(default=lambda _: None, compare=False, repr=False)

    def file(self, name: str) -> Path | None:
        """A file of the run's folder, such as samples.png, wherever it is kept; None if there is none."""
        return self.find(name)


def rows(config: Config, source: str = "folders") -> list[Row]:
    """All runs of a folder of runs, or of what MLflow holds, in the order of their names.

    A run that is there twice, such as a copy of a folder, is one row. UserError if there is none.
    """
    if source == "mlflow":
        from harness.tracking.reader import tracked

        found = tracked(config)
    else:
        found = [of_folder(folder) for folder in sorted(runs.folders(Run(config).root))]
    unique: dict[str, Row] = {}
    for row in found:
        unique.setdefault(row.fingerprint, row)
    if not unique:
        where = "MLflow" if source == "mlflow" else str(Run(config).root)
        raise UserError(f"{where} holds no run. Run something first, or say where the runs are: runs=FOLDER.")
    return sorted(unique.values(), key=lambda row: (row.name, row.fingerprint))


def frame(found: list[Row]) -> "pd.DataFrame":
    """Rows as a table, a column for each fact; `scores` holds a dict[str, Score]."""
    import pandas as pd

    return pd.DataFrame([{part.name: getattr(row, part.name) for part in fields(Row)} for row in found])


def of_folder(folder: Path) -> Row:
    """The row of a run's folder, as its record tells it, or its frozen config while there is no record."""
    path = folder / "record.json"
    if not path.exists() and (state := runs.state(folder)) not in OVER:
        return _begun(runs.load(folder), state, _beside(folder))
    return _recorded(record.read(path), _beside(folder))


def _beside(folder: Path) -> Find:
    return lambda name: path if (path := folder / name).exists() else None


def _recorded(found: record.Record, find: Find) -> Row:
    same = {key: getattr(found, key) for key in (*TEXTS, *JSON, "protocol") if key not in ("name", "overrides")}
    return Row(
        name=runs.named(found.method, found.data, found.seed, found.fingerprint),
        overrides=" ".join(found.overrides),
        scores={key: _short(score) for key, score in found.scores.items()},
        find=find,
        **same,
    )


def _begun(run: Run, state: RunState, find: Find) -> Row:
    return Row(
        name=run.name,
        fingerprint=run.fingerprint,
        series=run.series,
        **{kind: run.config[kind]["name"] for kind in ("method", "data", "model")},
        seed=run.config["seed"],
        state=state,
        protocol=runs.tag(run.config["protocol"]),
        overrides=" ".join(run.config["overrides"]),
        notes=run.config.get("notes", {}),
        study=run.config.get("study", {}),
        selection=record.selections(run.config.get("selection", {})),
        init=run.init or "",
        find=find,
    )


def _short(score: Score) -> Score:
    """A score whose JSON fits into a tag."""
    short = [text[:300] for text in score.warnings[:12]]
    return score if short == score.warnings else score.model_copy(update={"warnings": short})


def tags(row: Row) -> dict[str, str]:
    """A row as MLflow keeps it: texts as they are, all else as JSON."""
    return dict(_tags(row))


def _tags(row: Row) -> Iterator[tuple[str, str]]:
    yield from ((key, getattr(row, key)) for key in TEXTS)
    yield from (("protocol", row.protocol.id), ("protocol_hash", row.protocol.hash))
    yield "protocol_label", row.protocol.label
    for key in JSON:
        yield key, to_json(getattr(row, key)).decode()
    yield "scores", json.dumps(list(row.scores))
    yield from ((f"score.{key}", score.model_dump_json()) for key, score in row.scores.items())


def of_tags(tags: dict[str, str], find: Find) -> Row:
    """The row that was kept; an older harness kept less of it."""
    cost, origin = tags.get("cost", "null"), tags.get("origin", "null")
    return Row(
        **{key: tags.get(key, "") for key in TEXTS},
        seed=int(tags["seed"]),
        parameters=int(tags.get("parameters", 0)),
        canaries=json.loads(tags.get("canaries", "{}")),
        protocol=ProtocolTag(id=tags["protocol"], hash=tags["protocol_hash"], label=tags.get("protocol_label", "")),
        notes=json.loads(tags["notes"]),
        study=json.loads(tags["study"]),
        selection=record.selections(json.loads(tags["selection"])),
        scores={key: Score.model_validate_json(tags[f"score.{key}"]) for key in json.loads(tags["scores"])},
        cost=None if cost == "null" else Cost.model_validate_json(cost),
        origin=None if origin == "null" else Origin.model_validate_json(origin),
        find=find,
    )
