"""MLflow's store: its client, the experiments by data, and the runs in them that bear a tag."""

import logging
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from harness.core.errors import UserError
from harness.runs.config import Config
from harness.runs.run import Run

if TYPE_CHECKING:  # mlflow takes seconds to import, and most commands do without
    import mlflow.entities as ml
    from mlflow import MlflowClient

LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""What MLflow is told where the user's environment says nothing: to be brief, nor to report home, nor chat."""

LOCKED = 20
"""Seconds that a process waits for another that is at the same thing."""

ABOUT = {
    "mlflow.experimentKind": "custom_model_development",  # its pages then open on the runs, not on traces of agents
    "mlflow.note.content": "If these are pages of traces: choose Model training, at the top left. Each run is one "
    "method with one seed, judged under one protocol. The steps of train/… are the images seen, over all stages.",
}
"""Tags of every experiment."""

SECRET = re.compile(
    r"^(?!sqlite:|file:|[./]|(postgresql|mysql)[^:]*://[^:@/]*@).*@|https?://.*\?|[?&;#]\w*(pass|pwd|token|secret|key)\w*=",
    re.IGNORECASE,
)
"""What of a URI may hold a password."""


OFF = "off"
"""tracking=off: MLflow is told nothing, and not even imported."""


def enabled(config: Config) -> bool:
    """Whether there is a store at all."""
    return config.tracking != OFF


def uri(config: Config) -> str:
    """Where MLflow is: as configured, else a database in the runs folder.

    UserError if it may hold a password, and where it is off.
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
    return config.tracking or f"sqlite:///{Run(config).root / 'mlflow.db'}"


def connect(config: Config) -> "MlflowClient":
    """A client of the store, which makes its database where there is none."""
    for name, value in (LIMITS | SILENCE).items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(chatty).setLevel(level)
    with _alone(config):  # two that make one database break it
        return MlflowClient(uri(config))


def experiment(client: "MlflowClient", config: Config) -> str:
    """The id of the experiment of a config's data, made if there is none."""
    name, own = config.data["name"], not config.tracking
    location = None if uri(config).startswith("http") else (Run(config).root / "mlartifacts" / name).as_uri()
    found = client.get_experiment_by_name(name)
    if not found:
        return client.create_experiment(name, location, tags=ABOUT)
    for key in ABOUT.keys() - found.tags.keys():
        client.set_experiment_tag(found.experiment_id, key, ABOUT[key])
    if own and found.artifact_location != location:
        _move(Run(config).root / "mlflow.db", found.artifact_location, str(location))
    return found.experiment_id


def find(
    client: "MlflowClient", config: Config, key: str, value: str, name: str, started: int | None = None
) -> "ml.Run":
    """The MLflow run that bears a tag, made if there is none; started: when it was begun, in ms, if not now."""
    with _alone(config):  # of two processes that look for the parent of their runs, one makes it
        where = experiment(client, config)
        found = client.search_runs([where], f"tags.{key} = '{value}'", max_results=1)
        return found[0] if found else client.create_run(where, started, tags={key: value}, run_name=name)


def _alone(config: Config) -> FileLock:
    return FileLock(Run(config).root / "mlflow.lock", timeout=LOCKED)


def _move(database: Path, old: str, new: str) -> None:
    """Tell the database in a folder of runs that was moved where its files are now; MLflow knows no way of its own."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", (new, old))
        inside = "artifact_uri = ? || substr(artifact_uri, ?) WHERE substr(artifact_uri, 1, ?) = ?"
        connection.execute(f"UPDATE runs SET {inside}", (new, len(old) + 1, len(old) + 1, f"{old}/"))
