"""One row per run: the facts of its folder that tables need."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import Damaged
from harness.core.files import read_checked
from harness.evaluation.score import Score, Selection
from harness.runs import record
from harness.runs.code import file_of
from harness.runs.folder import OVER, RunState
from harness.runs.folder import state as state_of
from harness.runs.record import Cost, Origin, ProtocolTag
from harness.runs.run import Run, load, run_name, stage_folder

if TYPE_CHECKING:
    import pandas as pd

Find = Callable[[str], Path | None]
"""Function from a file name in a run's folder to a readable path; None if there is no such file."""


@dataclass(frozen=True)
class Row:
    """The facts of a run that tables need; a page about one run reads further details from its files.

    state: runs without a record have one too, but no scores, cost or origin. overrides: changes to the recipe.
    parameters: 0 if no net was built. code: identifies the code that judged the run; empty if unknown. doubts: reasons
    why it is not ranked, besides its selection. scores: their warnings are shortened.
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
    code: str = ""
    doubts: list[str] = field(default_factory=list)
    canaries: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    study: dict[str, float] = field(default_factory=dict)
    selection: dict[str, Selection] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    cost: Cost | None = None
    origin: Origin | None = None
    find: Find = field(default=lambda _: None, compare=False, repr=False)

    def file(self, name: str) -> Path | None:
        """Path of a file of the run's folder, such as samples.png, downloaded if need be; None if there is none."""
        return self.find(name)


def frame(found: list[Row]) -> "pd.DataFrame":
    """Rows as a table with one column per fact; the column `scores` holds a dict[str, Score]."""
    import pandas as pd

    return pd.DataFrame([{part.name: getattr(row, part.name) for part in fields(Row)} for row in found])


SAME = ({part.name for part in fields(Row)} & record.Record.model_fields.keys()) - {"overrides", "scores", "code"}
"""Fields that records have with the same name and type."""


def row_of(folder: Path) -> Row:
    """The row of a run's folder, from its record, or from its frozen config if there is no record yet."""
    path = folder / "record.json"
    if not path.exists() and (state := state_of(folder)) not in OVER:
        return _from_config(load(folder), state, _file_finder(folder))
    found = record.read(path)
    return _from_record(found, _doubts(found, folder.absolute().parent), _file_finder(folder))


def _file_finder(folder: Path) -> Find:
    return lambda name: path if (path := folder / name).exists() else None


def _doubts(found: record.Record, root: Path) -> list[str]:
    """Reasons why a record's numbers are not ranked: mixed code, or a stage that was trained again since."""
    doubts = [f"made by mixed code: {', '.join(map(file_of, found.mixed))} changed on the way"] if found.mixed else []
    for stage in found.cost.stages if found.cost else []:
        folder = stage_folder(root, stage.name, found.data, found.seed, stage.fingerprint)
        if stage.weights and folder.exists() and stage.weights != _weights_in(folder):
            doubts.append(f"out of date: its stage {stage.name} was trained again since")
    return doubts


def _weights_in(folder: Path) -> str:
    """The digest of the weights in a stage's folder; empty if it has none, or one cannot tell."""
    try:
        return read_checked(folder / "done.json").get("weights", "")
    except (OSError, Damaged):
        return ""


def _from_record(found: record.Record, doubts: list[str], find: Find) -> Row:
    same = {key: getattr(found, key) for key in SAME}
    return Row(
        name=run_name(found.method, found.data, found.seed, found.fingerprint),
        overrides=" ".join(found.overrides),
        code=found.code.digest if found.code else "",
        doubts=doubts,
        scores={key: _shorten(score) for key, score in found.scores.items()},
        find=find,
        **same,
    )


def _from_config(run: Run, state: RunState, find: Find) -> Row:
    # Runs without a record have no scores, cost or origin.
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


def _shorten(score: Score) -> Score:
    """The score with its warnings cut so that its JSON fits into an MLflow tag."""
    short = [text[:300] for text in score.warnings[:12]]
    return score if short == score.warnings else score.model_copy(update={"warnings": short})
