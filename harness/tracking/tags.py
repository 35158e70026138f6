"""What MLflow shows of a run, read from its folder: metrics, tags, parameters, a description, datasets."""

import getpass
import json
import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from harness.core.errors import UserError
from harness.core.reading import parse_json
from harness.core.settings import flatten
from harness.core.text import code_block, markdown, markdown_line
from harness.evaluation.score import Score, group_warnings
from harness.runs import record
from harness.runs.record import ProtocolTag
from harness.runs.row import Find, Row
from harness.runs.run import Run, fingerprint, placeless

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

HIDDEN = "mlflow.harness."
"""Prefix of tags that only programs read; MLflow's pages hide tags with such names."""

PARAM, TAG = 6000, 8000
"""Maximum number of characters of a parameter and of a tag."""

TEXTS = (
    "name", "fingerprint", "series", "method", "data", "model", "state", "reason", "overrides", "init", "code",
    "imported", "verified",
)  # fmt: skip
JSON = ("seed", "parameters", "doubts", "not_given", "canaries", "notes", "study", "selection", "cost", "origin")
"""Fields of a row that are stored as plain text, and those that are stored as JSON."""

ROW = TypeAdapter(Row)
"""Makes a row of facts whose types and names it checks."""

NAME = re.compile(r"[\w.\-: /]+")
"""A name that MLflow takes for a parameter, a metric or a tag."""

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
        kwh = {"training_kwh": row.cost.training_kwh, "cpu_kwh": row.cost.cpu_kwh}
        costs |= {name: value for name, value in kwh.items() if value is not None}
        values |= {f"cost/{name}": float(value) for name, value in costs.items()}
    return [(key, value, time, 0) for key, value in values.items()]


def params(run: Run) -> list[tuple[str, str]]:
    """The parts of the config that determine the numbers, flat: method.joint.training.lr and so on."""
    return [(key, str(value)[:PARAM]) for key, value in flatten(run.identity)]


def check_names(run: Run) -> None:
    """UserError if MLflow would refuse a name of the run's parameters, of which its metrics and tags are made."""
    for key, _ in params(run):
        if not NAME.fullmatch(key):
            raise UserError(
                f"{key} is no name for MLflow, which takes letters, digits, spaces and . _ - : / in names. Rename it, "
                "or go without MLflow: tracking=off."
            )


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
    method, data, model = map(markdown, (row.method, row.data, row.model))
    parts = [f"**{method}** on **{data}**, net {model}, seed {row.seed}: {row.state}", markdown_line(row.reason)]
    parts.append(code_block(run.config.command))
    if main := [score for score in row.scores.values() if not score.table]:
        parts.append("\n".join(["| score | value | 95 % interval | of |", "|:--|--:|:-:|--:|", *map(_line, main)]))

    # How the scores came about, and what to be careful about.
    if row.protocol.label:
        parts.append(f"**{markdown(row.protocol.label)}**")
    if row.cost and row.origin:
        stages = ", then ".join(f"{s.name} on {s.images:,} images in {s.seconds:.0f} s" for s in row.cost.stages)
        judged = f"Judged in {row.cost.evaluation_seconds:.0f} s, on {row.origin.hardware}."
        parts.append(markdown(f"Trained: {stages}. {judged}"))
    warnings = (*(f"Not ranked, {doubt}" for doubt in row.doubts), *_warnings(row))
    parts += [markdown(f"† {warning}") for warning in warnings]
    parts += [markdown(f"Deviates from the paper, {topic}: {note}") for topic, note in row.notes.items()]

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
    return key in ("seed", "parameters") or not (key in JSON or key.startswith(("score.", "scores")))


def _line(score: Score) -> str:
    arrow, unit = {"higher": "↑", "lower": "↓"}[score.better], f" {score.unit}" if score.unit else ""
    bounds = f"{score.low:.4g} … {score.high:.4g}" if score.low is not None and score.high is not None else ""
    title = f"{markdown(score.title)} {arrow}{' †' if score.warnings else ''}"
    return f"| {title} | {score.value:.4g}{unit} | {bounds} | {score.n:,} |"


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
        yield key, shorten(json.loads(to_json(getattr(row, key))))
    # The names of the scores, in as many tags as they need.
    for number, names in enumerate(_pieces(list(row.scores))):
        yield f"scores.{number}" if number else "scores", json.dumps(names)
    yield from ((f"score.{key}", shorten(json.loads(score.model_dump_json()))) for key, score in row.scores.items())


def shorten(value: Any) -> str:  # noqa: ANN401 - whatever json holds
    """The JSON of a value in at most TAG characters: long texts are cut, then long lists; null if that is too little.

    No mapping of ours has more than 16 fields, so all of them stay.
    """
    text, most = _compact(value), TAG
    while len(text) > TAG and most > 16:
        most //= 2
        text = _compact(_cut(value, most))
    return text if len(text) <= TAG else "null"


def _compact(value: Any) -> str:  # noqa: ANN401 - whatever json holds
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _cut(value: Any, most: int) -> Any:  # noqa: ANN401 - whatever json holds
    """A value with at most `most` characters in each text and as many entries in each list and mapping."""
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[: most - 1]}…"
    if isinstance(value, list):
        return [_cut(part, most) for part in value[:most]]
    if isinstance(value, dict):
        return {_cut(key, most): _cut(part, most) for key, part in islice(value.items(), most)}
    return value


def _pieces(names: list[str]) -> list[list[str]]:
    """Names in lists whose JSON fits into a tag each; one empty list if there are none."""
    pieces: list[list[str]] = [[]]
    length = 0
    for name in names:
        length += len(json.dumps(name)) + 2
        if length > TAG - 2 and pieces[-1]:
            pieces.append([])
            length = len(json.dumps(name)) + 2
        pieces[-1].append(name)
    return pieces


def row_of_tags(tags: dict[str, str], find: Find) -> Row:
    """The row stored in tags; fields that older versions did not store get their defaults.

    Errors of several kinds if they hold anything else.
    """
    content = {key: parse_json(tags[key].encode()) for key in JSON if key in tags}
    more = sorted((key for key in tags if re.fullmatch(r"scores\.[0-9]{1,4}", key)), key=lambda key: int(key[7:]))
    names = [name for key in ("scores", *more) for name in parse_json(tags[key].encode())]
    facts = {
        **{key: tags.get(key, "") for key in TEXTS},
        **content,
        "selection": record.selections(content["selection"]),
        "protocol": ProtocolTag(id=tags["protocol"], hash=tags["protocol_hash"], label=tags.get("protocol_label", "")),
        "scores": {key: parse_json(tags[f"score.{key}"].encode()) for key in names},
        "find": find,
    }
    return ROW.validate_python(facts)
