"""MLflow, where people look: a mirror of the run folders. The disk is the truth, and no run waits for the mirror.

What the tracking server did not get, because it was away, is sent by the next push, once, by fingerprint.
"""

import hashlib
import logging
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from harness.errors import UserError
from harness.files import read_json, write_json
from harness.patience import tried
from harness.reports import rows
from harness.runs import OVER, Config, Run, fingerprint

if TYPE_CHECKING:  # mlflow takes seconds to import, and most commands do not need it
    import mlflow.entities as ml
    from mlflow import MlflowClient

LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
SILENCE = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
"""What MLflow is told where the user's environment says nothing: to let no run wait, nor to report home, nor chat."""

BATCH = {"metrics": 1000, "params": 100, "tags": 100}
PARAM = 6000
"""How many of a kind MLflow takes at once, and how many characters a parameter holds."""

FILES = (
    *("config.yaml", "record.json", "metrics.jsonl", "selection.json", "failure.md"),
    *("samples.png", "reliability.png", "counterfactuals.png"),
)
STATUS = {"done": "FINISHED", "skipped": "FINISHED", "failed": "FAILED", "diverged": "FAILED"}
"""What of a run folder is mirrored, and MLflow's word for a state; others are RUNNING there, the tag says which."""

LOCKED = 20
"""Seconds that a push waits for that of another process."""

SECRET = re.compile(
    r"^(?!sqlite:|file:|[./]|(postgresql|mysql)[^:]*://[^:@/]*@).*@|https?://.*\?|[?&;#]\w*(pass|pwd|token|secret|key)\w*=",
    re.IGNORECASE,
)
"""What of a URI may hold a password."""


def uri(config: Config) -> str:
    """Where MLflow is: as configured, else a database in the runs folder. UserError if it may hold a password."""
    if SECRET.search(config["tracking"] or ""):
        raise UserError(
            "tracking=… holds a password or token, or looks like it, and would be written into every run's folder. "
            "Leave it out there; put it into the environment, as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of a database where its client looks for it "
            "(PGPASSWORD, ~/.pgpass, ~/.my.cnf)."
        )
    return config["tracking"] or f"sqlite:///{Run(config).root / 'mlflow.db'}"


def prepare(config: Config) -> None:
    """Make the database and the experiment, before any job needs them; a warning if that fails."""
    tried(uri(config), "the experiment could not be made", lambda: _experiment(connect(config), config))


def parent(config: Config, name: str, runs: list[Run]) -> str | None:
    """The id of the MLflow run that a multirun's runs hang under, the same for the same runs; None without MLflow."""
    multirun = fingerprint(sorted(run.fingerprint for run in runs))

    def make() -> str:
        client = connect(config)
        found = _find(client, config, "multirun", multirun, name)
        client.set_terminated(found.info.run_id)
        return found.info.run_id

    return tried(uri(config), f"the parent run {name} could not be made", make)


def push(run: Run, parent_id: str | None = None, last: bool = False) -> bool:
    """Bring MLflow level with a run folder; False, with a warning, if MLflow cannot be reached or refuses.

    A store that could not be reached is left alone for a while, unless this is the last push of the run.
    """

    def send() -> bool:
        with FileLock(run.folder / "mlflow.lock", timeout=LOCKED):
            _Mirror(run).send({"mlflow.parentRunId": parent_id} if parent_id else {})
        return True

    return bool(tried(uri(run.config), f"{run.name} was not sent, the same command will try again", send, last))


def ui_command(config: Config) -> str:
    """The command that opens MLflow's pages: a server over the database, or a browser where a server is."""
    where, served = shlex.quote(uri(config)), uri(config).startswith("http")
    return f"python -m webbrowser {where}" if served else f"mlflow ui --backend-store-uri {where} --port 5000"


def connect(config: Config) -> "MlflowClient":
    """A client of the store, which makes its database where there is none."""
    for name, value in (LIMITS | SILENCE).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(chatty).setLevel(level)
    with FileLock(Run(config).root / "mlflow.lock", timeout=LOCKED):  # two that make one database break it
        return MlflowClient(uri(config))


def _experiment(client: "MlflowClient", config: Config) -> str:
    name, own = config["data"]["name"], not config["tracking"]
    location = None if uri(config).startswith("http") else (Run(config).root / "mlartifacts" / name).as_uri()
    found = client.get_experiment_by_name(name)
    if not found:
        return client.create_experiment(name, location)
    if own and found.artifact_location != location:
        _move(Run(config).root / "mlflow.db", found.artifact_location, str(location))
    return found.experiment_id


def _move(database: Path, old: str, new: str) -> None:
    """Tell the database in a folder of runs that was moved where its files are now; MLflow knows no way of its own."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old))
        inside = "artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?"
        connection.execute(f"UPDATE runs SET {inside}", (new, len(old) + 1, len(old) + 1, f"{old}/"))


def _find(client: "MlflowClient", config: Config, key: str, value: str, name: str) -> "ml.Run":
    """The MLflow run that bears a tag, made if there is none."""
    experiment = _experiment(client, config)
    found = client.search_runs([experiment], f"tags.{key} = '{value}'", max_results=1)
    return found[0] if found else client.create_run(experiment, tags={key: value}, run_name=name)


class _Mirror:
    """A run, its image in MLflow, and the note of what was sent there, which is kept in the run's folder."""

    def __init__(self, run: Run) -> None:
        self.run, self.client = run, connect(run.config)
        self.image = _find(self.client, run.config, "fingerprint", run.fingerprint, run.name)
        self.id = self.image.info.run_id
        path = run.folder / "mlflow.json"
        self.note = read_json(path) if path.exists() else {}
        if self.note.get("run_id") != self.id:  # another database, or what was sent is deleted there
            self.note = {"uri": uri(run.config), "run_id": self.id, "points": 0, "files": {}}

    def send(self, tags: dict[str, str]) -> None:
        """Send what is missing there, and note it step by step, so that an interrupted push is continued."""
        path, row = self.run.folder / "record.json", rows.of_folder(self.run.folder)
        self.log("params", [item for item in _flat(self.run.identity) if item[0] not in self.image.data.params])
        self.send_curves()
        if row.state in OVER:
            self.log("metrics", [(*item, int(path.stat().st_mtime * 1000), 0) for item in _numbers(row)])
        tags |= rows.tags(row) | {"folder": str(self.run.folder)}
        self.log("tags", [item for item in tags.items() if item not in self.image.data.tags.items()])
        for name in FILES:
            self.send_file(self.run.folder / name)
        if (status := STATUS.get(row.state, "RUNNING")) != self.image.info.status:
            tell = self.client.update_run if status == "RUNNING" else self.client.set_terminated
            tell(self.id, status)

    def send_curves(self) -> None:
        """The points not sent yet; all bear the time of the image's making, so that none can stand there twice."""
        time, lines = self.image.info.start_time, self.run.curves()
        points = [
            (key, value, time, line["images"]) for line in lines for key, value in line.items() if key != "images"
        ]
        while some := points[self.note["points"] :][: BATCH["metrics"]]:
            self.log("metrics", some)
            self.remember(points=self.note["points"] + len(some))

    def send_file(self, path: Path) -> None:
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
        if digest and digest != self.note["files"].get(path.name):
            self.client.log_artifact(self.id, str(path))
            self.remember(files={**self.note["files"], path.name: digest})

    def log(self, kind: str, items: Sequence[tuple[Any, ...]]) -> None:
        from mlflow import entities

        entity = {"metrics": entities.Metric, "params": entities.Param, "tags": entities.RunTag}[kind]
        for first in range(0, len(items), BATCH[kind]):
            some: dict[str, Any] = {kind: [entity(*item) for item in items[first : first + BATCH[kind]]]}
            self.client.log_batch(self.id, **some)

    def remember(self, **sent: object) -> None:
        self.note.update(sent)
        write_json(self.run.folder / "mlflow.json", self.note)


def _numbers(found: rows.Row) -> Iterator[tuple[str, float]]:
    for key, score in found.scores.items():
        bounds = {key: score.value, f"{key}/low": score.low, f"{key}/high": score.high}
        yield from ((name, value) for name, value in bounds.items() if value is not None)
    costs = found.cost.model_dump(include={"training_seconds", "evaluation_seconds"}) if found.cost else {}
    yield from ((f"cost/{name}", seconds) for name, seconds in costs.items())


def _flat(content: object, name: str = "") -> Iterator[tuple[str, str]]:
    if not isinstance(content, dict) or not content:
        yield name, str(content)[:PARAM]
        return
    for key, value in content.items():
        yield from _flat(value, f"{name}.{key}" if name else key)
