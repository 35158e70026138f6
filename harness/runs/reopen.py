"""Reopen an existing run: its frozen config, with the overrides that may still change."""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from pathlib import Path, PurePath

from harness.core.errors import UserError, quoted, short
from harness.core.files import digest
from harness.core.registry import names
from harness.runs import fetch
from harness.runs.compose import compose
from harness.runs.config import Config, Part
from harness.runs.run import IDENTITY, PLACES, Run, find, load
from harness.runs.trust import is_imported

FROZEN = (*IDENTITY, "selection", "notes", "study", "init", "weights", "init_accuracy", "overrides")
"""Keys that define a run and its history, so cannot be overridden; the others say where and how it runs."""

OWN = ("launcher", "runs", "reports", "tracking", "tracking_model", "extractors", "device", "workers", "evaluators")
"""Keys that are the reader's own in an imported config, beside PLACES and `init`."""

WITH_PLACES = ("method", "data", "outliers", "protocol")
"""Parts of a config that may say where files are."""

UNSAID = {"protocol": {"id": "unsaid", "metrics": {}}}
"""Placeholder for the protocol, which refers to the data, while the data are not known yet."""


def reopen(word: str, overrides: Sequence[str], besides: Collection[str] = ()) -> Run:
    """The run of `word`: the path of a run's folder, its name in the folder of runs, or a checkpoint's path or address.

    A folder's run has its frozen config; overrides may change only where and how it runs, and the keys `besides`. A
    checkpoint's config comes from the overrides. UserError if there is no such run, or if overrides change other keys.
    """
    # A checkpoint file: compose a config around it.
    if fetch.is_weights(word):
        return _refuse_training(Run(compose([*checkpoint_overrides(word), *overrides])[0]))

    # A run's folder: refuse overrides of frozen keys, and changed initial weights.
    config = compose([*overrides], parts=UNSAID)[0]
    run = load(find(word, Path(config.runs)))
    free = {field.name for field in fields(Config)} - {*FROZEN} | {*besides}
    overridden = {
        override.lstrip("+~").partition("=")[0].partition(".")[0] for override in overrides if override[:1] != "-"
    }
    for key in sorted(overridden - free):
        raise UserError(
            f"{key}=… cannot be changed in {run.name}, whose config is frozen. Another config needs a new run: "
            f"python -m harness {key}=…"
        )
    if run.config.init and digest(str(fetch.local(run.config.init))) != (run.init or "").partition(":")[0]:
        raise UserError(f"init={run.config.init} has changed since {run.name} was started: restore the old file.")

    if besides and is_imported(run.folder):
        weights = run.folder / "stages" / "STAGE" / "weights.safetensors"
        raise UserError(
            f"{run.name} was imported, and no run may build on its weights. Evaluate them as a checkpoint, with the "
            f"data and the net that its config.yaml names: python -m harness evaluate run={weights}"
        )

    # Compose again with the run's data, and take over the overridden values.
    data = run.config.data
    config = compose([f"data={data_group(data['name'])}", *overrides], parts={"data": data})[0]
    unknown = {key for key in ("customary", "extractors") if not getattr(run.config, key)}  # absent in older versions
    changed = {key: getattr(config, key) for key in (overridden - {"runs"}) | unknown}
    return Run(replace(run.config, **changed), None if besides else run.names, run.recorded)


def adopt(run: Run, overrides: Sequence[str], verb: str, typed: Sequence[str]) -> Run:
    """A run of somebody else's with the reader's own places, launcher and tracking; its names and numbers stay.

    A place is what the overrides say, or else the reader's configs. A root that these lack is `data`; a checkpoint, or
    a file of samples, is expected by its name in the working folder, and its digest is checked when it is read.
    verb, typed: the command that was typed, which becomes the run's: nobody is told to paste one of others.
    UserError for overrides of anything else.
    """
    # Refuse overrides that would make it another run.
    for override in (word for word in overrides if word[:1] != "-"):
        key = override.lstrip("+~").partition("=")[0]
        if key.partition(".")[0] not in (*OWN, "init") and key.rpartition(".")[2] not in PLACES:
            raise UserError(f"{key}=… cannot be changed in {run.name}, which was imported: leave it out.")

    # Put the places of the reader's configs into those of the run, then those of the overrides.
    theirs = run.config
    chosen = {part: getattr(theirs, part)["name"] for part in ("method", "data", "outliers")}
    known = [f"{part}={name}" for part, name in chosen.items() if name in names(part)]
    usual = compose(known)[0]
    placed = {part: _with_places(getattr(theirs, part), getattr(usual, part)) for part in WITH_PLACES}
    own = compose([*known, *overrides], verb, typed, placed)[0]

    # The checkpoint that it begins from must be the same.
    init = own.init or (PurePath(theirs.init).name if theirs.init else None)
    if own.init and digest(own.init) != (run.init or "").partition(":")[0]:
        raise UserError(f"init={own.init} is not the checkpoint that {run.name} started from: give that one, or none.")
    changed = {key: getattr(own, key) for key in (*OWN, *WITH_PLACES, "command")}
    return Run(replace(theirs, **changed, init=init), run.names, run.recorded)


def own_runs(overrides: Sequence[str]) -> Path:
    """The reader's own folder of runs: the one that the overrides name, or else that of the reader's configs."""
    return Path(compose([word for word in overrides if word.startswith("runs=")])[0].runs).absolute()


def _with_places(part: Part, own: Part) -> Part:
    """A part of a config with the places of another, at any depth."""
    elsewhere = {"root": "data", "download": False, "source": PurePath(str(part.get("source") or "")).name or None}
    placed: Part = {}
    for key, value in part.items():
        if isinstance(value, dict):
            placed[key] = _with_places(value, mine if isinstance(mine := own.get(key), dict) else {})
        else:
            placed[key] = own.get(key) or elsewhere[key] if key in PLACES else value
    return placed


def checkpoint_overrides(path: str) -> list[str]:
    """The overrides that compose a run from a checkpoint file."""
    return ["method=pretrained", f"init={quoted(path)}"]


def samples_overrides(path: str) -> list[str]:
    """The overrides that compose a run of given samples."""
    return ["method=samples", f"method.source={quoted(path)}"]


def _refuse_training(run: Run) -> Run:
    """Return a checkpoint's run; UserError if its method would train it further."""
    if run.stage_runs:
        name = run.config.method["name"]
        raise UserError(
            f"method={name} would continue training from {run.config.init}: leave out method=… to use it as it is."
        )
    return run


def data_group(data: str) -> str:
    """The config group member for a dataset's name; one of another size matches too (imagenet224 → imagenet256).

    UserError if there is none, as where a package is not installed.
    """
    groups, stem = names("data"), data.rstrip("0123456789")
    matches = [data] if data in groups else [name for name in groups if name.rstrip("0123456789") == stem]
    if not matches:
        raise UserError(
            f"There is no data called {short(data)} here. Install the package that provides it, or name its folder: "
            "--config-dir=DIR"
        )
    return matches[0]
