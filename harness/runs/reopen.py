"""A run that was trained before, taken up again: what it was frozen with, and what may still be said of it."""

from collections.abc import Collection, Sequence
from dataclasses import fields, replace
from pathlib import Path

from harness.core.errors import UserError
from harness.core.files import digest
from harness.core.registry import names
from harness.runs.compose import compose
from harness.runs.config import Config
from harness.runs.run import IDENTITY, Run, find, load

FROZEN = (*IDENTITY, "selection", "notes", "study", "init", "init_accuracy", "overrides")
"""What a run is, and how it came to be; the other keys say where and how it is run."""

UNSAID = {"protocol": {}}
"""Part of a config as long as it is not known which data are meant: protocols refer to them."""


def reopen(word: str, overrides: Sequence[str], besides: Collection[str] = ()) -> Run:
    """The run that a folder's path, its name in the folder of runs, or a checkpoint file means.

    A folder's config is its frozen one, but for what the overrides say of where and how it is run, and of the keys
    `besides`; a checkpoint's is what they say. UserError where there is no such run, or where they say more.
    """
    if Path(word).is_file():
        return _refuse_training(Run(compose([*checkpoint_overrides(word), *overrides])[0]))
    config = compose([*overrides], parts=UNSAID)[0]
    run = load(find(word, Path(config.runs)))
    free = {field.name for field in fields(Config)} - {*FROZEN} | {*besides}
    said = {override.lstrip("+~").partition("=")[0].partition(".")[0] for override in overrides if override[:1] != "-"}
    for key in sorted(said - free):
        raise UserError(
            f"{key}=… cannot be said of {run.name}, whose config is frozen. A run of another config is another run: "
            f"python -m harness {key}=…"
        )
    if run.config.init and digest(run.config.init) != run.init:
        raise UserError(f"init={run.config.init} has changed since {run.name} was begun: put the old file back.")
    data = run.config.data
    config = compose([f"data={_group(data['name'])}", *overrides], parts={"data": data})[0]
    unknown = {key for key in ("customary", "extractors") if not getattr(run.config, key)}  # an older harness had none
    changed = {key: getattr(config, key) for key in (said - {"runs"}) | unknown}
    return Run(replace(run.config, **changed), recorded=run.recorded)


def checkpoint_overrides(path: str) -> list[str]:
    """The overrides that make a run of a checkpoint file."""
    escaped = path.replace("'", "\\'")
    return ["method=pretrained", f"init='{escaped}'"]


def _refuse_training(run: Run) -> Run:
    """The run of a checkpoint, unless it would be trained on."""
    if run.stage_runs:
        name = run.config.method["name"]
        raise UserError(f"method={name} would train on from {run.config.init}: leave it out, to take that as it is.")
    return run


def _group(data: str) -> str:
    """The config of a dataset of this name; imagenet224 is imagenet256 of another size."""
    there, stem = names("data"), data.rstrip("0123456789")
    return data if data in there else next(name for name in there if name.rstrip("0123456789") == stem)
