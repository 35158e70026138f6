"""One row per run: the facts of its folder that tables need."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from harness.core.errors import UserError, why
from harness.core.files import read_checked
from harness.core.reading import LARGEST_CONFIG, LARGEST_FILE, parse_yaml, read_file
from harness.evaluation.score import Count, Number, Score, Selection
from harness.runs import record, trust
from harness.runs.code import file_of
from harness.runs.folder import OVER, Fault, RunState, has_record
from harness.runs.folder import state as state_of
from harness.runs.record import Cost, Name, Origin, ProtocolTag, Seed
from harness.runs.run import Run, load, run_name, stage_folder
from harness.runs.spent import Spent, parse_points, spent

T = TypeVar("T")

Find = Callable[[str], Path | None]
"""Function from a file name in a run's folder to a path on this machine; None if there is no such file."""


@dataclass(frozen=True)
class Row:
    """The facts of a run that tables need; a page about one run reads further details from its files.

    state: runs without a record have one too, but no scores, cost or origin. overrides: changes to the recipe.
    parameters: 0 if no net was built. code: identifies the code that judged the run; empty if unknown. doubts: reasons
    why it is not ranked, besides its selection. scores: their warnings are shortened. not_given: keys
    of scores that the method cannot have. imported, verified: how it came here, and what the reader's own verification
    compared; empty if it was not.
    """

    name: Name
    fingerprint: Name
    series: str
    method: Name
    data: Name
    model: str
    seed: Seed
    state: RunState
    protocol: ProtocolTag
    reason: str = ""
    overrides: str = ""
    parameters: Count = 0
    init: str = ""
    code: str = ""
    doubts: list[str] = field(default_factory=list)
    canaries: dict[str, Number] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    study: dict[Name, Number] = field(default_factory=dict)
    selection: dict[str, Selection] = field(default_factory=dict)
    scores: dict[str, Score] = field(default_factory=dict)
    not_given: list[str] = field(default_factory=list)
    imported: str = ""
    verified: str = ""
    cost: Cost | None = None
    origin: Origin | None = None
    find: Find = field(default=lambda _: None, compare=False, repr=False)

    def read(self, name: str, parse: Callable[[bytes], T], largest: int = LARGEST_FILE) -> T | None:
        """What `parse` makes of a file of the run's folder, downloaded if need be; None if there is none.

        None too, with a note in `faults`, if it cannot be read: a figure may lack a run, and no file hides the others.
        """
        try:
            path = self.find(name)
            return None if path is None else parse(read_file(path, largest))
        except FileNotFoundError:
            return None
        except MemoryError:  # the fault of this machine, not of the file
            raise
        except Exception as error:  # each kind of damage has an error of its own
            self.doubt(name, why(error))
            return None

    def doubt(self, name: str, reason: str) -> None:
        """Note why a file of the run's folder is not used."""
        self.faults[name] = Fault(self.name, f"{name}: {reason}")

    @property
    def provenance(self) -> str:
        """The state of the run, and whether it was imported and verified."""
        came = f"imported, {'' if self.verified else 'not '}verified" if self.imported else self.verified and "verified"
        return f"{self.state} ({came})" if came else self.state

    @cached_property
    def spent(self) -> Spent:
        """What its training took beyond what its record says; nothing is known if it trained nothing."""
        if not (self.cost and self.cost.stages):
            return Spent()
        points = self.read("metrics.jsonl", parse_points) or []
        return spent(self.cost, points, lambda: self.read("config.yaml", parse_yaml, LARGEST_CONFIG))

    @cached_property
    def faults(self) -> dict[str, Fault]:
        """The files of the run's folder that could not be read, by name."""
        return {}


SAME = ({part.name for part in fields(Row)} & record.Record.model_fields.keys()) - {"overrides", "scores", "code"}
"""Fields that records have with the same name and type."""


def row_of(folder: Path) -> Row:
    """The row of a run's folder, from its record, or from its frozen config if there is no record yet."""
    if not has_record(folder) and (state := state_of(folder)) not in OVER:
        return _from_config(load(folder), state, _file_finder(folder))
    found = record.read(folder / "record.json")
    imported, verified, wrong = trust.marks(folder)
    row = _from_record(found, [*_doubts(found, folder.absolute()), *wrong], _file_finder(folder))
    return replace(row, imported=imported, verified=verified)


def _file_finder(folder: Path) -> Find:
    return lambda name: folder / name


def _doubts(found: record.Record, of: Path) -> list[str]:
    """Reasons why a record's numbers are not ranked: mixed code, or a stage that was trained again since."""
    doubts = (
        [f"made by mixed code: {', '.join(map(file_of, found.mixed))} changed during the run"] if found.mixed else []
    )
    for stage in found.cost.stages if found.cost else []:
        shared = stage_folder(of.parent, stage.name, found.data, found.seed, stage.fingerprint)
        folder = of / "stages" / stage.name if trust.is_imported(of) else shared
        if stage.weights and folder.exists() and stage.weights != _weights_in(folder):
            doubts.append(f"out of date: its stage {stage.name} was trained again since")
    return doubts


def _weights_in(folder: Path) -> str:
    """The digest of the weights in a stage's folder; empty if it has none, or one cannot tell."""
    try:
        return read_checked(folder / "done.json").get("weights", "")
    except (OSError, UserError):
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
