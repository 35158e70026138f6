"""What MLflow shows of a run, read from its folder: metrics, tags, parameters, a description, datasets."""

import getpass
import json
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic_core import to_json

from harness.core.settings import flatten
from harness.evaluation.score import Score, group_warnings
from harness.runs import record
from harness.runs.record import Cost, Origin, ProtocolTag
from harness.runs.row import Find, Row
from harness.runs.run import Run, fingerprint, placeless

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

HIDDEN = "mlflow.harness."
"""Prefix of tags that only programs read; MLflow's pages hide tags with such names."""

PARAM, TAG = 6000, 8000
"""Maximum number of characters of a parameter and of a tag."""

TEXTS = ("name", "fingerprint", "series", "method", "data", "model", "state", "reason", "overrides", "init", "code")
JSON = ("seed", "parameters", "doubts", "canaries", "notes", "study", "selection", "cost", "origin")
"""Fields of a row that are stored as plain text, and those that are stored as JSON."""

Point = tuple[str, float, int, int]
"""A metric's name, its value, the time in ms, and the step."""


def curves(run: Run, time: int) -> list[Point]:
    """Training curves, such as train/ce, over all stages, by images seen."""
    return [
        (f"train/{key.rpartition('/')[2]}", value, time, line["images"])
        for line in run.curves()
        for key, value in line.items()
        if key != "images"
    ]


def scores(row: Row, time: int) -> list[Point]:
    """The scores, the intervals of the main scores, and the cost; all at step 0, so that MLflow draws bar charts.

    Their time is when the record was created, the same in all copies of it; `time` if that is unknown.
    """
    if row.origin and row.origin.created:
        time = int(1000 * datetime.fromisoformat(row.origin.created).timestamp())
    values = {key: score.value for key, score in row.scores.items()}
    for key, score in row.scores.items():
        if score.low is not None and score.high is not None and not score.table:
            name = f"interval/{key.replace('/', '_')}"
            values |= {f"{name}_low": score.low, f"{name}_high": score.high}
    if row.cost:
        costs = row.cost.model_dump(include={"training_seconds", "evaluation_seconds", "peak_memory_mb"})
        costs |= {} if row.cost.training_kwh is None else {"training_kwh": row.cost.training_kwh}
        values |= {f"cost/{name}": float(value) for name, value in costs.items()}
    return [(key, value, time, 0) for key, value in values.items()]


def params(run: Run) -> list[tuple[str, str]]:
    """The parts of the config that determine the numbers, flat: method.joint.training.lr and so on."""
    return [(key, str(value)[:PARAM]) for key, value in flatten(run.identity)]


def tags(run: Run, row: Row, id: str) -> dict[str, str]:
    """Tags with the run's identity, files and outcome; those that only programs read get a hidden name."""
    texts = {key if _plain(key) else HIDDEN + key: text for key, text in row_tags(row)}
    texts |= {
        "folder": str(run.folder),
        "checkpoints": "\n".join(str(stage_run.folder) for stage_run in run.stage_runs),
        "mlflow.user": getpass.getuser(),
        "mlflow.source.name": run.config.command,
        "mlflow.note.content": description(run, row, id),
    }
    if row.origin:
        texts["mlflow.source.git.commit"] = row.origin.commit
    return {key: text[:TAG] for key, text in texts.items()}


def plain_tags(tags: dict[str, str]) -> dict[str, str]:
    """A run's tags without the hidden prefix, which older versions did not use.

    MLflow drops empty tags, so `reason` and `overrides` get an empty default.
    """
    return {"reason": "", "overrides": ""} | {key.removeprefix(HIDDEN): text for key, text in tags.items()}


def description(run: Run, row: Row, id: str) -> str:
    """A run in markdown: the command, the main scores, warnings, and where to find the rest."""
    parts = [f"**{row.method}** on **{row.data}**, net {row.model}, seed {row.seed}: {row.state}", row.reason]
    parts.append(f"```\n{run.config.command}\n```")
    if main := [score for score in row.scores.values() if not score.table]:
        parts.append("\n".join(["| score | value | 95 % interval | of |", "|:--|--:|:-:|--:|", *map(_line, main)]))

    # How the scores came about, and what to be careful about.
    if row.protocol.label:
        parts.append(f"**{row.protocol.label}**")
    if row.cost and row.origin:
        stages = ", then ".join(f"{s.name} on {s.images:,} images in {s.seconds:.0f} s" for s in row.cost.stages)
        parts.append(f"Trained: {stages}. Judged in {row.cost.evaluation_seconds:.0f} s, on {row.origin.hardware}.")
    parts += [f"† {warning}" for warning in (*(f"Not ranked, {doubt}" for doubt in row.doubts), *_warnings(row))]
    parts += [f"Deviates from the paper, {topic}: {note}" for topic, note in row.notes.items()]

    parts.append(f"Folder: `{run.folder}`")
    if row.state == "done":
        parts.append(f'Model: `mlflow.pyfunc.load_model("runs:/{id}/model").get_raw_model()`')
    return "\n\n".join(filter(None, parts))


def inputs(run: Run) -> list["DatasetInput"]:
    """The dataset and the outliers as MLflow dataset inputs, identified by the hash of their configs."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    contexts = {"data": "training, validation, test", "outliers": "outliers"}
    dataset_inputs: list[DatasetInput] = []
    for part, context in contexts.items():
        content = placeless(getattr(run.config, part))
        source = json.dumps({"config": content})
        dataset = Dataset(content["name"], fingerprint(content), "local", source, profile=json.dumps(content))
        dataset_inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return dataset_inputs


def _plain(key: str) -> bool:
    return key in ("seed", "parameters") or not (key in (*JSON, "scores") or key.startswith("score."))


def _line(score: Score) -> str:
    arrow, unit = {"higher": "↑", "lower": "↓"}[score.better], f" {score.unit}" if score.unit else ""
    bounds = f"{score.low:.4g} … {score.high:.4g}" if score.low is not None and score.high is not None else ""
    return (
        f"| {score.title} {arrow}{' †' if score.warnings else ''} | {score.value:.4g}{unit} | {bounds} | {score.n:,} |"
    )


def _warnings(row: Row) -> list[str]:
    """Each warning once, with the titles of the scores that it concerns."""
    pairs = ((score.title, warning) for score in row.scores.values() for warning in score.warnings)
    return [f"{', '.join(titles)}: {warning}" for warning, titles in group_warnings(pairs).items()]


def row_tags(row: Row) -> Iterator[tuple[str, str]]:
    """A row as MLflow tags: strings as they are, all else as JSON."""
    yield from ((key, getattr(row, key)) for key in TEXTS)
    yield from (("protocol", row.protocol.id), ("protocol_hash", row.protocol.hash))
    yield "protocol_label", row.protocol.label
    for key in JSON:
        yield key, to_json(getattr(row, key)).decode()
    yield "scores", json.dumps(list(row.scores))
    yield from ((f"score.{key}", score.model_dump_json()) for key, score in row.scores.items())


def row_of_tags(tags: dict[str, str], find: Find) -> Row:
    """The row stored in tags; fields that older versions did not store get their defaults."""
    # Tags that older versions did not write have defaults.
    cost, origin = tags.get("cost", "null"), tags.get("origin", "null")
    return Row(
        **{key: tags.get(key, "") for key in TEXTS},
        seed=int(tags["seed"]),
        parameters=int(tags.get("parameters", 0)),
        doubts=json.loads(tags.get("doubts", "[]")),
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
