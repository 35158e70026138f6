"""Runs from composed configs: fingerprint, folder, state, and the stages that runs share."""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from harness.core.errors import Unreadable, UserError, first_line, near, typed, why
from harness.core.files import digest, read_checked, read_lines, valid_name, write_text
from harness.core.reading import LARGEST_CONFIG, parse_yaml, read_file
from harness.core.registry import build
from harness.core.registry import find as find_class
from harness.core.settings import canonical
from harness.runs import fetch, record
from harness.runs.config import Config, Part, thawed
from harness.runs.folder import RunState, has_record, state
from harness.runs.trust import is_imported

if TYPE_CHECKING:  # imported only when needed, so that listing folders needs no torch
    from harness.core.dataset import Dataset
    from harness.core.method import Ability, Method, Stage

IDENTITY = ("method", "data", "model", "outliers", "protocol", "seed", "budget")
"""Parts of a config that determine a run's numbers; the other parts say where and how it runs."""

PLACES = ("root", "download", "source")
"""Fields that say where files are, not what they contain."""

UNKNOWN = "unknown"
"""Stands for the digest of initial weights that a plan cannot read, as they are not on this machine."""

NUMERICS = 1
"""Part of every fingerprint; increase it when a code change alters the numbers of an unchanged config."""


def fingerprint(content: object) -> str:
    """Twelve hex digits that identify a JSON-serialisable content."""
    text = json.dumps([NUMERICS, content], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def tag(protocol: Part, data: str) -> record.ProtocolTag:
    """A protocol's id, the hash of its contents, and its label; data: the name of the dataset that it is for."""
    hash = fingerprint(_named_protocol(protocol, data))
    return record.ProtocolTag(id=protocol["id"], hash=hash, label=protocol.get("label", ""))


class Names(NamedTuple):
    """Fingerprints stored when a run was frozen, so that its folder can be read without importing its classes."""

    run: str
    series: str
    protocol: str


@dataclass(frozen=True)
class StageRun:
    """A stage to train, identified by everything that its weights depend on, so that runs can share it."""

    name: str
    fingerprint: str
    folder: Path
    stage: "Stage"
    parent: "StageRun | None"

    @property
    def done(self) -> bool:
        """Whether the stage is trained and its weights are saved."""
        return (self.folder / "done.json").exists()

    @property
    def weights(self) -> str:
        """Digest of the trained weights; empty if an older version trained them. Damaged if it cannot be read."""
        return read_checked(self.folder / "done.json").get("weights", "")

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train: the stage is done, or has diverged or collapsed."""
        return self.done or (self.folder / "diverged.json").exists()


@dataclass(frozen=True)
class Run:
    """One run: its settings, and the folder named by their fingerprint.

    names: the fingerprints that it was frozen with. recorded: the fingerprints of its stages, by name, in its record;
    they may differ from the present ones if another version trained them.
    """

    config: Config
    names: Names | None = None
    recorded: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        try:
            return f"<Run {self.name}, {self.state}>"
        except UserError as error:  # its initial weights are missing, or its record cannot be read
            return f"<Run of method={self.config.method['name']}, {first_line(error)}>"

    def _repr_html_(self) -> str:
        """The run in a notebook: its name, state and folder, and the main scores if it has any."""
        known: list[tuple[str, str]] = []
        with suppress(UserError):
            known = [("state", self.state), ("folder", str(self.folder))]
            found = record.read(self.folder / "record.json").scores.values() if has_record(self.folder) else ()
            known += [(score.title, f"{score.value:.4g} {score.unit}") for score in found if not score.table]
        rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in known)
        return f"<table><caption>{escape(repr(self))}</caption>{rows}</table>"

    @cached_property
    def identity(self) -> Part:
        """The parts of the config that determine the numbers, and the digest of the initial weights.

        A budget of 1 is left out, as runs were named before there was one.
        """
        config = self.config
        parts = {
            "method": canonical(placeless(config.method), find_class("method", config.method["name"])),
            "data": canonical(placeless(config.data), find_class("data", config.data["name"])),
            "model": config.model,
            "outliers": canonical(placeless(config.outliers), find_class("outliers", config.outliers["name"])),
            "protocol": _named_protocol(config.protocol, config.data["name"]),
            "seed": config.seed,
        }
        if not self.recipe.has_net:  # then nothing passes a net, and nothing starts at outliers
            parts = {key: part for key, part in parts.items() if key not in ("model", "outliers")}
        budget = {"budget": config.budget} if config.budget != 1 else {}
        return parts | budget | ({"init": self.init} if self.init else {})

    @cached_property
    def init(self) -> str | None:
        """Digest of the file of initial weights; None if they are drawn from the seed.

        If the file holds averaged and raw weights, and the run takes those that older versions did not take, then
        ":raw" or ":averaged" follows the digest, here and wherever it is recorded.
        """
        path = self.config.init
        if not path or self.config.init_digest:
            return path and self.config.init_digest
        from harness.training.weights import mark  # imports torch, which listing runs does not need

        file = fetch.local(path)
        return digest(str(file)) + mark(file, self.config.weights)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of the run."""
        return self.names.run if self.names else fingerprint(self.identity)

    @cached_property
    def series(self) -> str:
        """Fingerprint of the run without its seed, shared by repeats with other seeds."""
        return self.names.series if self.names else fingerprint({**self.identity, "seed": None})

    @cached_property
    def protocol(self) -> record.ProtocolTag:
        """The protocol that evaluates the run."""
        if self.names is None:
            return tag(self.config.protocol, self.config.data["name"])
        label = self.config.protocol.get("label", "")
        return record.ProtocolTag(id=self.config.protocol["id"], hash=self.names.protocol, label=label)

    @property
    def root(self) -> Path:
        """The folder of all runs."""
        return Path(self.config.runs).absolute()

    @property
    def name(self) -> str:
        """Name of the run: method, data, seed, fingerprint."""
        return run_name(self.config.method["name"], self.config.data["name"], self.config.seed, self.fingerprint)

    @property
    def folder(self) -> Path:
        """Folder of the run's config, record and pictures."""
        return self.root / self.name

    @cached_property
    def recipe(self) -> "Method":
        """The method at a budget of 1, built from the config; UserError if the config is wrong."""
        try:
            return build("method", self.config.method)
        except UserError as error:
            # An ablation sets fields that other methods lack.
            hints = [
                f"; or leave out {word}, if it sets this field" for word in self.config.overrides if "ablation=" in word
            ]
            raise UserError("".join([str(error), *hints])) from None

    @cached_property
    def method(self) -> "Method":
        """The method, its trainings scaled by the run's budget; UserError if they cannot be."""
        from harness.core.optim import scaled  # imports torch, as the method does

        budget = self.config.budget
        try:
            return self.recipe if budget == 1 else scaled(self.recipe, budget)
        except ValueError as error:
            raise UserError(f"budget={budget:g}: {first_line(error)}") from None

    @property
    def gives(self) -> tuple["Ability", ...]:
        """What can be judged of the run: what its method gives, and `condition` if given samples come with labels."""
        return (*self.method.gives, "condition") if self.config.labelled else (*self.method.gives,)

    @cached_property
    def data(self) -> "Dataset":
        """The dataset, built from the config."""
        return build("data", self.config.data)

    @cached_property
    def stage_runs(self) -> list[StageRun]:
        """The stages in order, each the parent of the next; with initial weights (`init`) only the last one."""
        stage_runs: list[StageRun] = []
        stages = list(self.method.stages.items())
        for name, stage in stages[-1:] if self.init else stages:
            parent = stage_runs[-1] if stage_runs else None
            stage_runs.append(self._stage_run(name, stage, parent))
        return stage_runs

    def _stage_run(self, name: str, stage: "Stage", parent: StageRun | None) -> StageRun:
        outliers = self.identity["outliers"] if "outliers" in stage.streams else None
        content = {
            "stage": [type(stage).__module__, type(stage).__name__, canonical(asdict(stage), type(stage))],  # pyright: ignore[reportArgumentType]
            "data": self.identity["data"],
            "model": self.config.model,
            "outliers": outliers,
            "seed": self.config.seed,
            "parent": parent.fingerprint if parent else self.init,
        }
        digest, recorded = fingerprint(content), self.recorded.get(name)
        if is_imported(self.folder):  # its stages are its own: no other run is built on them
            return StageRun(name, recorded or digest, self.folder / "stages" / valid_name(name), stage, parent)
        if recorded and not self._stage_folder(name, digest).exists() and self._stage_folder(name, recorded).exists():
            digest = recorded
        return StageRun(name, digest, self._stage_folder(name, digest), stage, parent)

    def _stage_folder(self, name: str, digest: str) -> Path:
        return stage_folder(self.root, name, self.config.data["name"], self.config.seed, digest)

    @property
    def state(self) -> RunState:
        """The run's state, read from its folder."""
        return state(self.folder)

    def curves(self) -> list[dict[str, Any]]:
        """Logged lines of all stages so far; `images` accumulates over stages, figures are named stage/name."""
        whole = self.folder / "metrics.jsonl"
        if whole.exists():
            return read_lines(whole)
        lines: list[dict[str, Any]] = []
        before = 0
        for stage_run in self.stage_runs:
            logged = read_lines(stage_run.folder / "metrics.jsonl")
            for line in logged:
                figures = {
                    f"{stage_run.name}/{k}": v for k, v in line.items() if k not in ("step", "images", "seconds")
                }
                lines.append({"images": before + line["images"], **figures})
            before += logged[-1]["images"] if logged else 0
        return lines

    def freeze(self) -> None:
        """Write the config into the run's folder; the run is executed with exactly this config."""
        write_text(self.folder / "config.yaml", self.frozen)

    @property
    def frozen(self) -> str:
        """The config as it is frozen: yaml, with the names that the run has now."""
        names = Names(self.fingerprint, self.series, self.protocol.hash)
        content = replace(self.config, init_digest=self.init).mapping() | {"names": names._asdict()}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def run_name(method: str, data: str, seed: int, fingerprint: str) -> str:
    """The name of a run; UserError if it is not a valid folder name."""
    return valid_name(f"{method}-{data}-s{seed}-{fingerprint[:8]}")


def stage_folder(root: Path, name: str, data: str, seed: int, fingerprint: str) -> Path:
    """The folder of a stage below the folder of runs; UserError if its name is not a valid folder name."""
    return root / "stages" / valid_name(f"{name}-{data}-s{seed}-{fingerprint[:8]}")


def placeless(part: Part) -> Part:
    """A part of a config without the fields that say where files are, at any depth."""
    kept = {key: value for key, value in part.items() if key not in PLACES}
    return {key: placeless(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _named_protocol(protocol: Part, data: str) -> Part:
    """A protocol in the canonical form of fingerprints, with the sha256 of the shipped extractors that it uses."""
    from harness.evaluation.features import shipped
    from harness.evaluation.samples import Sampling
    from harness.evaluation.selection import Steps

    part = placeless(protocol)
    kinds = {"samples": Sampling, "selection": Steps}
    metrics = {
        name: canonical(entry, find_class("metric", entry.get("metric", name)))
        for name, entry in part["metrics"].items()
    }
    used = {str(entry.get("features")) for entry in (*part["metrics"].values(), part.get("selection") or {})}
    extractors = {name: digest for name in sorted(used) if (digest := shipped(name, data))}
    named = {key: canonical(value, kinds.get(key)) for key, value in part.items()} | {"metrics": metrics}
    return named | ({"extractors": extractors} if extractors else {})


def load(folder: Path) -> Run:
    """The run of a folder with its frozen config, even if the folder was moved; UserError if there is none.

    Unreadable if it has a record that cannot be read.
    """
    path, recorded = folder / "config.yaml", _recorded_stages(folder)
    try:
        content = {**parse_yaml(read_file(path, LARGEST_CONFIG)), "runs": str(folder.absolute().parent)}
        names = content.pop("names", None)
        run = Run(thawed(content), names and Names(**names), recorded)
        _check_names(run)
    except (OSError, ValueError, TypeError, LookupError, UserError) as error:
        raise Unreadable(path, why(error), fault="cannot be read, so this is not a run folder") from None
    return run


def _check_names(run: Run) -> None:
    """Raise an error now if names in a frozen config cannot be part of a path."""
    for part in (run.config.method, run.config.data):
        valid_name(part["name"])
    for name in run.names or ():
        valid_name(name)
    if run.names:
        run_name(run.config.method["name"], run.config.data["name"], run.config.seed, run.names.run)
        _ = run.protocol


def _recorded_stages(folder: Path) -> dict[str, str]:
    """Fingerprints of the stages in a record, by name; empty if there is no record."""
    cost = record.read(folder / "record.json").cost if has_record(folder) else None
    return {stage.name: stage.fingerprint for stage in (cost.stages if cost else [])}


def find(word: str, root: Path) -> Path:
    """The folder of a run, given by its path or by its name below a root; UserError with similar names if not found."""
    for folder in (Path(word), root / word):
        if has_record(folder) or os.path.lexists(folder / "config.yaml"):
            return folder.resolve()
    close = near(word, [folder.name for folder in folders(root)] if root.is_dir() else []).partition("There are")[0]
    raise UserError(
        f"There is no run '{word}', neither at that path nor below {root}. {close}"
        f"python -m harness status {typed('runs', root)} shows the runs that exist."
    )


def folders(root: Path) -> list[Path]:
    """The run folders below a root, oldest first; UserError if the root is no folder."""
    if not root.is_dir():
        raise UserError(
            f"There is no folder of runs at {root}. Run something first, or name another folder: runs=FOLDER."
        )
    begun: dict[Path, float] = {}
    for entry in os.scandir(root):
        with suppress(OSError):  # most are no folder of a run
            begun[root / entry.name] = os.lstat(f"{entry.path}/config.yaml").st_mtime
    return sorted(begun, key=lambda folder: (begun[folder], folder.name))
