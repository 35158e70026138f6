"""What of a run was made by other code or is damaged, and setting it aside so that it is made again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from harness.core.errors import Damaged, UserError
from harness.core.files import read_checked
from harness.core.tensors import load_tensors
from harness.evaluation.evaluator import SAMPLES, metrics
from harness.runs import code, record
from harness.runs.code import file_of
from harness.runs.folder import is_locked, lock
from harness.runs.record import Code, Record
from harness.runs.run import Run, StageRun
from harness.training import checkpoint

WEIGHTS = "weights"
"""Key of the digest of the weights that a piece was made from, beside the digests of the code that made it."""

BEFORE = "before"
"""The folder, inside that of a run or stage, for what was set aside: a numbered folder for each time."""

OF_RECORD = ("record.json", "uncommitted.diff", "failure.md", "mlflow.json")
"""Files that are set aside with a record."""

STAYS = (BEFORE, "lock", "job.json")
"""What stays in the folder of a stage when the rest is set aside."""


class Outdated(NamedTuple):
    """A part of a run that would not be the same if it were made now: a stage, the samples or a metric."""

    what: str
    reason: str
    folder: Path
    names: tuple[str, ...]
    follows: bool = False
    """Whether it is outdated only because another part is."""

    def __str__(self) -> str:
        return f"{self.what} ({self.reason})"


def outdated(run: Run, thorough: bool = False) -> list[Outdated]:
    """The parts of a run that other code made, or that stand on such parts; thorough: read weights, to find damage.

    What was made before code was recorded is unknown, and taken as sound.
    """
    stages: list[Outdated] = []
    for stage_run in run.stage_runs:
        follows = f"after {stages[0].what}" if stages else ""
        if reason := follows or _stage_reason(run, stage_run, thorough):
            stages.append(Outdated(f"stage {stage_run.name}", reason, stage_run.folder, (), bool(follows)))
    return stages + list(_evaluation(run, stages))


def set_aside(run: Run) -> list[Outdated]:
    """Move the outdated parts of a run, with its record, into folders `before/1`, `before/2`, …; return the parts.

    UserError if a process works on one of them.
    """
    parts = outdated(run, thorough=True)
    for folder in {run.folder, *(part.folder for part in parts)}:
        if is_locked(folder):
            raise UserError(
                f"A process is working in {folder}: wait until it ends, or cancel it, before you use redo=true."
            )
    stages = [part.folder for part in parts if part.folder != run.folder]
    if parts:
        names = [*OF_RECORD, *(name for part in parts for name in part.names), *(["metrics.jsonl"] if stages else [])]
        _move(run.folder, names)
    for folder in stages:
        if folder.exists():
            with lock(folder):
                _move(folder, [path.name for path in folder.iterdir() if path.name not in STAYS])
    return parts


def of_record(run: Run) -> Code:
    """The code that judges a run in this process."""
    return code.code({name: digest for parts in code.of_evaluation(run).values() for name, digest in parts.items()})


def of_pieces(run: Run) -> dict[str, dict[str, str]]:
    """What is noted with each piece of a run's evaluation, by SAMPLES and by metric.

    The digests of its code, of the engine's modules that differ from the commit, and of the weights.
    """
    weights = run.stage_runs[-1].weights if run.stage_runs else ""
    shared = {name: code.engine()[name] for name in sorted(code.edited())} | {WEIGHTS: weights}
    return {name: parts | shared for name, parts in code.of_evaluation(run).items()}


def made_by(run: Run) -> Iterator[Code]:
    """The code that made what is on the disk: each stage, from its first step to its last, and each piece."""
    for stage_run in run.stage_runs:
        yield from map(Code.model_validate, filter(None, _made(stage_run).get("codes", [])))
    for _, noted in _pieces(run):
        yield Code(parts={name: digest for name, digest in noted.items() if name != WEIGHTS}, engine={})


def _stage_reason(run: Run, stage_run: StageRun, thorough: bool) -> str:
    """Why a stage is outdated; empty if it is not, or not begun."""
    try:
        made = _made(stage_run)
        if thorough and stage_run.done:
            for name in ("weights", "state"):
                load_tensors(stage_run.folder / f"{name}.safetensors", torch.device("cpu"), made.get(name, ""))
    except Damaged as error:
        return str(error).rstrip(".")
    now = code.of_stage(run, stage_run.stage)
    names = {name for one in filter(None, made.get("codes", [])) for name in Code.model_validate(one).changes(now)}
    if names:
        return _changed(names)
    parent = stage_run.parent
    if parent and parent.done and (begun_from := made.get("parent")) and begun_from != _made(parent).get(WEIGHTS):
        return f"stage {parent.name} was trained again since"
    return ""


def _made(stage_run: StageRun) -> dict[str, Any]:
    """What is noted with a stage's weights, or else with its newest checkpoint; empty if it is not begun."""
    if stage_run.done:
        return read_checked(stage_run.folder / "done.json")
    return checkpoint.peek(stage_run.folder / "checkpoints")


def _evaluation(run: Run, stages: list[Outdated]) -> Iterator[Outdated]:
    """The outdated samples and metrics of a run, after its outdated stages."""
    whole, path = f"after {stages[0].what}" if stages else "", run.folder / "record.json"
    reasons: dict[str, str] = {}
    if not stages:
        reasons = _reasons_of_record(run, record.read(path)) if path.exists() else _reasons_of_pieces(run)
    if reason := whole or reasons.get(SAMPLES):
        yield Outdated(SAMPLES, reason, run.folder, ("samples", "selection.json", "selection"), bool(whole))
    for name, metric in metrics(run.config.protocol, run.gives).items():
        follows = whole or (f"after {SAMPLES}" if "generate" in metric.needs and SAMPLES in reasons else "")
        if reason := follows or reasons.get(name):
            yield Outdated(f"metric {name}", reason, run.folder, (f"parts/{name}",), bool(follows))


def _reasons_of_record(run: Run, found: Record) -> dict[str, str]:
    """Why the samples and metrics behind a record are outdated, by name."""
    names = code.of_evaluation(run)
    trained = {stage.name: stage.weights for stage in (found.cost.stages if found.cost else [])}
    for stage_run in run.stage_runs:
        if stage_run.done and trained.get(stage_run.name, "") not in ("", _made(stage_run).get(WEIGHTS)):
            return dict.fromkeys(names, f"stage {stage_run.name} was trained again since")
    if found.code is None:
        return {}
    engine = found.code.changes(of_record(run).model_copy(update={"parts": {}}))
    changes = {name: [*found.code.changed_parts(parts), *engine] for name, parts in names.items()}
    return {name: _changed(changed) for name, changed in changes.items() if changed}


def _reasons_of_pieces(run: Run) -> dict[str, str]:
    """Why pieces of an unfinished evaluation are outdated, by SAMPLES and by metric."""
    now, reasons = {}, {}
    for name, noted in _pieces(run):
        now = now or of_pieces(run)
        present = code.engine() | now.get(name, {})
        if changed := {key for key in {*noted, *now.get(name, {})} if noted.get(key) != present.get(key)}:
            reasons[name] = _changed(changed)
    return reasons


def _pieces(run: Run) -> Iterator[tuple[str, dict[str, str]]]:
    """What is noted with each piece of a run that is on the disk, if it is readable and known."""
    folder = run.folder
    marks = [(SAMPLES, path) for path in (*folder.glob("samples/*.json"), folder / "selection.json") if path.exists()]
    marks += [(path.parent.name, path) for path in folder.glob("parts/*/*.json")]
    for name, path in marks:
        try:
            noted = read_checked(path).get("code")
        except Damaged:  # it is made again
            continue
        if noted:
            yield name, noted


def _changed(names: set[str] | list[str]) -> str:
    files = sorted({file_of(name) for name in names if name != WEIGHTS})
    return f"{', '.join(files)} changed" if files else "its weights were trained again"


def _move(folder: Path, names: list[str]) -> None:
    """Move files and folders, where there are any, into the next numbered folder of what was set aside."""
    there = [name for name in names if (folder / name).exists()]
    number = 1 + max((int(path.name) for path in folder.glob(f"{BEFORE}/*") if path.name.isdigit()), default=0)
    for name in there:
        target = folder / BEFORE / f"{number}" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
