"""Reopen an existing run: its frozen config, with the overrides that may still change."""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from pathlib import Path

from harness.core.errors import UserError, short
from harness.core.files import digest
from harness.core.registry import names
from harness.runs import fetch
from harness.runs.compose import compose
from harness.runs.config import Config
from harness.runs.run import IDENTITY, Run, find, load

FROZEN = (*IDENTITY, "selection", "notes", "study", "init", "weights", "init_accuracy", "overrides")
"""Keys that define a run and its history, so cannot be overridden; the others say where and how it runs."""

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
            f"{key}=… cannot be said of {run.name}, whose config is frozen. A run of another config is another run: "
            f"python -m harness {key}=…"
        )
    if run.config.init and digest(str(fetch.local(run.config.init))) != (run.init or "").partition(":")[0]:
        raise UserError(f"init={run.config.init} has changed since {run.name} was begun: put the old file back.")

    # Compose again with the run's data, and take over the overridden values.
    data = run.config.data
    config = compose([f"data={data_group(data['name'])}", *overrides], parts={"data": data})[0]
    unknown = {key for key in ("customary", "extractors") if not getattr(run.config, key)}  # absent in older versions
    changed = {key: getattr(config, key) for key in (overridden - {"runs"}) | unknown}
    return Run(replace(run.config, **changed), recorded=run.recorded)


def checkpoint_overrides(path: str) -> list[str]:
    """The overrides that compose a run from a checkpoint file."""
    return ["method=pretrained", f"init={_quoted(path)}"]


def samples_overrides(path: str) -> list[str]:
    """The overrides that compose a run of given samples."""
    return ["method=samples", f"method.source={_quoted(path)}"]


def _quoted(path: str) -> str:
    escaped = path.replace("'", "\\'")
    return f"'{escaped}'"


def _refuse_training(run: Run) -> Run:
    """Return a checkpoint's run; UserError if its method would train it further."""
    if run.stage_runs:
        name = run.config.method["name"]
        raise UserError(f"method={name} would train on from {run.config.init}: leave it out, to take that as it is.")
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
