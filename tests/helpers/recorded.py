"""Runs with folders, records and rows, made without training."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.image import imsave

from harness import tracking
from harness.evaluation.score import Score, Selection
from harness.runs import record
from harness.runs.config import config_of
from harness.runs.record import Cost, Origin, ProtocolTag, Record
from harness.runs.row import Row
from harness.runs.run import Run

WALK = {"steps": 2, "step": 0.1, "eps": 0.5}


TRAINING = {"epochs": 1, "batch": 32, "optimizer": "sgd", "lr": 0.1}


ORIGIN = {
    "command": "c",
    "created": "2026-01-01T00:00Z",
    "commit": "0",
    "dirty": False,
    "python": "3",
    "packages": {},
    "hardware": "h",
    "device": "cpu",
    "threads": 1,
    "precision": "fp32",
}


def make(root: Path, seed: int = 0, **changed: Any) -> Run:
    """A run on digits."""
    settings = {
        "method": {"name": "at", "robust": {"attack": WALK, "training": TRAINING}, "sampler": WALK},
        "data": {"name": "digits"},
        "model": {"name": "digits", "width": 8},
        "outliers": {"name": "fields"},
        "protocol": {"id": "digits-1", "metrics": {}},
        "seed": seed,
        "runs": str(root / "runs"),
        "command": "python -m harness report",
        "reports": str(root / "reports"),
        "overrides": [],
        "selection": {},
        "notes": {},
        "study": {},
        "init": None,
        "tracking": None,
    }
    return Run(config_of({**settings, **changed}))


def finish(run: Run, scores: dict[str, Score], state: str = "done", seconds: float = 60.0, **fields: Any) -> Run:
    """Give a run the folder and the record that it has when it is finished."""
    took = {"seconds": seconds, "images_per_second": 7000 / seconds, "peak_memory_mb": 512, "resumed": 0}
    stage = record.StageCost(name="robust", fingerprint="0", steps=70, images=7000, **took)
    cost = record.Cost(stages=[stage], training_seconds=seconds, evaluation_seconds=90, peak_memory_mb=512)
    names = {key: getattr(run.config, key)["name"] for key in ("method", "data", "model")}
    content = {
        "fingerprint": run.fingerprint,
        "series": run.series,
        "state": state,
        "seed": run.config.seed,
        **{key: getattr(run.config, key) for key in ("overrides", "notes", "study")},
        "protocol": run.protocol,
        "scores": scores,
        "cost": cost,
        "origin": ORIGIN,
    }
    run.freeze()
    record.write(run.folder / "record.json", record.Record.model_validate(content | names | fields))
    return run


def a_row(method: str, seed: int = 0, **fields: Any) -> Row:
    """A row of a finished run."""
    names = {"name": f"{method}-digits-s{seed}", "fingerprint": f"{method}{seed}", "series": method}
    content = {"data": "digits", "model": "digits", "state": "done", **names}
    judged = {"protocol": record.ProtocolTag(id="digits-1", hash="HASH")}
    return Row(**(content | judged | {"method": method, "seed": seed} | fields))


def robust(value: float, **fields: Any) -> dict[str, Score]:
    """The score that most tests use."""
    score = {"title": "Robust accuracy", "value": value, "n": 100, "unit": "%", "better": "higher"}
    return {"robust_accuracy/l2_0.5": Score.model_validate(score | fields)}


JOINT = {"contrast": {"walk": WALK, "curriculum": None}, "training": TRAINING}


ATJEM = {"name": "atjem", "robust": None, "joint": {**JOINT, "attack": WALK}, "sampler": WALK}


JEM = {"name": "jem", "energy": {"chains": {"walk": WALK}, "training": TRAINING}, "sampler": WALK}


CHOSEN = {
    "weights": Selection(by="the last ones, not tuned", split=[]),
    "steps": Selection(by="accuracies and FD, seed 0", split=["validation", "train"]),
}


def scores(robust_accuracy: float, fd: float, ece: float, **fields: Any) -> dict[str, Score]:
    """A robust accuracy with its interval, an FD and a calibration error."""
    interval = {"low": robust_accuracy - 5, "high": robust_accuracy + 5}
    return {
        **robust(robust_accuracy, **interval, **fields),
        "fd_digits": Score(title="FD", value=fd, n=500, better="lower"),
        "ece": Score(title="ECE", value=ece, n=360, unit="%", better="lower"),
    }


def further(auroc: float, valid: float | None = None) -> dict[str, Score]:
    """Scores for other tables."""
    detector = {"table": "OOD detection", "low": auroc - 1, "high": auroc + 1, "n": 720}
    found = {"ood/fields": Score(title="AUROC (fields)", value=auroc, unit="%", better="higher", **detector)}
    changed = {"title": "Changed to target", "table": "Counterfactuals", "n": 90, "unit": "%", "better": "higher"}
    return found | ({"counterfactuals/valid": Score(value=valid, **changed)} if valid is not None else {})


def paint(run: Run, grey: float, name: str = "samples") -> None:
    """Write a sample grid, or another image."""
    rows, columns = np.indices((40, 40))
    picture = np.clip(grey + (rows // 8 + columns // 8) % 2 / 4, 0, 1)
    imsave(run.folder / f"{name}.png", picture, cmap="gray", vmin=0, vmax=1)


def some_score(**changed):
    fields = {"title": "Clean accuracy", "value": 97.5, "low": 95.0, "high": 99.0, "n": 360, "unit": "%"}
    return Score(**{**fields, "better": "higher", **changed})


def some_record(**changed):
    origin = Origin(
        command="python -m harness", created="2026-11-22T00:00:00+00:00", commit="0", dirty=False, python="3.11",
        packages={"torch": "2"}, hardware="a CPU", device="cpu", threads=1, precision="fp32",
    )  # fmt: skip
    fields = {"fingerprint": "f", "series": "s", "state": "done", "method": "at", "data": "digits", "model": "digits"}
    cost = Cost(stages=[], training_seconds=1.5, evaluation_seconds=2.5, peak_memory_mb=3)
    given = {**fields, "seed": 0, "protocol": ProtocolTag(id="digits-1", hash="0"), "origin": origin, "cost": cost}
    return Record(**{**given, "scores": {"clean_accuracy": some_score()}, "outcomes": {"clean": "110"}, **changed})


@cache
@cache
def database() -> bytes:
    """A database without runs; creating its tables takes seconds, so it is cached."""
    with TemporaryDirectory() as folder:
        config = replace(make(Path(folder)).config, data={"name": "other"})
        tracking.prepare(config)
        return (Path(folder) / "runs" / "mlflow.db").read_bytes()


def log(run: Run, points: int) -> None:
    """Write curves with a number of points, of two values each."""
    folder = run.stage_runs[0].folder
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"step": i, "images": 32 * i, "seconds": 0.1, "ce": 2.0 / i, "robust_accuracy": 0.5}
        for i in range(1, points + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def mirrored(run: Run) -> dict[str, Any]:
    """Everything that MLflow has of a run, curves point by point."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking.uri(run.config))
    experiment = client.get_experiment_by_name("digits")
    assert experiment
    (found,) = client.search_runs([experiment.experiment_id], f"tags.fingerprint = '{run.fingerprint}'")
    history = {key: client.get_metric_history(found.info.run_id, key) for key in found.data.metrics}
    return {
        "info": dict(found.info),
        "params": found.data.params,
        "tags": found.data.tags,
        "curves": {key: [(p.step, p.value, p.timestamp) for p in points] for key, points in history.items()},
        "files": {file.path for file in client.list_artifacts(found.info.run_id)},
    }
