"""A run in one row: the facts of its folder that tables need."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from harness.evaluation.score import Score, Selection
from harness.runs import record
from harness.runs.folder import OVER, RunState
from harness.runs.folder import state as state_of
from harness.runs.record import Cost, Origin, ProtocolTag
from harness.runs.run import Run, load, run_name

if TYPE_CHECKING:
    import pandas as pd

Find = Callable[[str], Path | None]
"""Where a file of a run's folder can be read by now; None if there is none of that name."""


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


def frame(found: list[Row]) -> "pd.DataFrame":
    """Rows as a table, a column for each fact; `scores` holds a dict[str, Score]."""
    import pandas as pd

    return pd.DataFrame([{part.name: getattr(row, part.name) for part in fields(Row)} for row in found])


SAME = ({part.name for part in fields(Row)} & record.Record.model_fields.keys()) - {"overrides", "scores"}
"""The facts that a record has under the same names, in the same form."""


def row_of(folder: Path) -> Row:
    """The row of a run's folder, as its record tells it, or its frozen config while there is no record."""
    path = folder / "record.json"
    if not path.exists() and (state := state_of(folder)) not in OVER:
        return _from_config(load(folder), state, _beside(folder))
    return _from_record(record.read(path), _beside(folder))


def _beside(folder: Path) -> Find:
    return lambda name: path if (path := folder / name).exists() else None


def _from_record(found: record.Record, find: Find) -> Row:
    same = {key: getattr(found, key) for key in SAME}
    return Row(
        name=run_name(found.method, found.data, found.seed, found.fingerprint),
        overrides=" ".join(found.overrides),
        scores={key: _short(score) for key, score in found.scores.items()},
        find=find,
        **same,
    )


def _from_config(run: Run, state: RunState, find: Find) -> Row:
    return Row(
        name=run.name,
        fingerprint=run.fingerprint,
        series=run.series,
        method=run.config.method["name"],
        data=run.config.data["name"],
        model=run.config.model["name"],
        seed=run.config.seed,
        state=state,
        protocol=run.protocol,
        overrides=" ".join(run.config.overrides),
        notes=run.config.notes,
        study=run.config.study,
        selection=run.config.selection,
        init=run.init or "",
        find=find,
    )


def _short(score: Score) -> Score:
    """A score whose JSON fits into a tag."""
    short = [text[:300] for text in score.warnings[:12]]
    return score if short == score.warnings else score.model_copy(update={"warnings": short})
