"""The MLflow store: its client, one experiment per dataset, and the runs in it by tag."""

import logging
import os
import re
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.core.errors import UserError
from harness.runs.config import Config
from harness.runs.run import Run

if TYPE_CHECKING:  # mlflow takes seconds to import, and most commands do not need it
    import mlflow.entities as ml
    from mlflow import MlflowClient

LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Defaults for MLflow's environment variables: few retries, short timeouts, no telemetry, little output."""

LOCKED = 20
"""Seconds that a process waits for a lock."""

ABOUT = {
    "mlflow.experimentKind": "custom_model_development",  # its pages then open on the runs, not on traces of agents
    "mlflow.note.content": "If these are pages of traces: choose Model training, at the top left. Each run is one "
    "method with one seed, judged under one protocol. The steps of train/… are the images seen, over all stages.",
}
"""Tags that every experiment gets."""

SECRET = re.compile(
    r"^(?!sqlite:|file:|[./]|(postgresql|mysql)[^:]*://[^:@/]*@).*@|https?://.*\?|[?&;#]\w*(pass|pwd|token|secret|key)\w*=",
    re.IGNORECASE,
)
"""Matches a URI that may hold a password or token."""


STORE = re.compile(r"(?!file:)[a-z][\w+.-]*://.|(databricks|databricks-uc|uc)$", re.IGNORECASE)
"""Matches the beginning of a URI of a server or a database that holds runs."""

OFF = "off"
"""tracking=off: nothing is sent to MLflow, and it is not imported."""


def enabled(config: Config) -> bool:
    """Whether tracking is on."""
    return config.tracking != OFF


def uri(config: Config) -> str:
    """The URI of the MLflow store: as configured, or else of a database in the runs folder.

    UserError if the URI may hold a password, is none of a server or a database, or if tracking is off.
    """
    if not enabled(config):
        raise UserError("tracking=off says that there is no MLflow. Leave it out, or say where it is: tracking=URI.")
    if SECRET.search(config.tracking or ""):
        raise UserError(
            "tracking=… holds a password or token, or looks like it, and would be written into every run's folder. "
            "Leave it out there; put it into the environment, as MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of a database where its client looks for it "
            "(PGPASSWORD, ~/.pgpass, ~/.my.cnf)."
        )
    if config.tracking and not STORE.match(config.tracking):
        raise UserError(_instead(config.tracking))
    return config.tracking or f"sqlite:///{Run(config).root / 'mlflow.db'}"


def _instead(given: str) -> str:
    """What to write in place of a text that is no URI of a server or a database."""
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", given):
        return f"tracking={given} lacks how to speak to it. For an MLflow server there, write tracking=http://{given}"
    path = Path(given.removeprefix("file://").removeprefix("file:") or ".").absolute()
    return (
        f"tracking={given} is neither a server nor a database. Write tracking=http://HOST:5000 for a server, "
        f"tracking=sqlite:///{path / 'mlflow.db'} for a database there, or leave it out for one in the folder of runs."
    )


def connect(config: Config) -> "MlflowClient":
    """A client of the store; creates the database if there is none."""
    for name, value in (LIMITS | SILENCE).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(chatty).setLevel(level)
    with _lock(config):  # two processes that create one database at the same time break it
        return MlflowClient(uri(config))


def experiment(client: "MlflowClient", config: Config) -> str:
    """The id of the experiment for a config's dataset; created if there is none."""
    name, own = config.data["name"], not config.tracking
    location = None if uri(config).startswith("http") else (Run(config).root / "mlartifacts" / name).as_uri()
    existing = client.get_experiment_by_name(name)
    if not existing:
        return client.create_experiment(name, location, tags=ABOUT)
    for key in ABOUT.keys() - existing.tags.keys():
        client.set_experiment_tag(existing.experiment_id, key, ABOUT[key])
    if own and existing.artifact_location != location:
        _move(Run(config).root / "mlflow.db", existing.artifact_location, str(location))
    return existing.experiment_id


def experiment_in_database(config: Config) -> str | None:
    """The id of the experiment for a config's dataset in an SQLite database, without MLflow; None if there is none."""
    kind, _, place = uri(config).partition(":///")
    if kind != "sqlite":
        return None
    path = Path(place).absolute()
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        query = "SELECT experiment_id FROM experiments WHERE name = ?"
        return next((str(found) for (found,) in connection.execute(query, (config.data["name"],))), None)
    return None


def find(
    client: "MlflowClient", config: Config, key: str, value: str, name: str, started: int | None = None
) -> "ml.Run":
    """The MLflow run with a tag, created if there is none; started: its start time in ms; None: now."""
    with _lock(config):  # only one of several processes may create it
        where = experiment(client, config)
        runs = client.search_runs([where], f"tags.{key} = '{value}'", max_results=1)
        return runs[0] if runs else client.create_run(where, started, tags={key: value}, run_name=name)


def _lock(config: Config) -> FileLock:
    return FileLock(Run(config).root / "mlflow.lock", timeout=LOCKED)


def _move(database: Path, old: str, new: str) -> None:
    """Update the artifact paths in the database of a moved folder of runs, for which MLflow has no function."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old))
        inside = "artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?"
        connection.execute(f"UPDATE runs SET {inside}", (new, len(old) + 1, len(old) + 1, f"{old}/"))
