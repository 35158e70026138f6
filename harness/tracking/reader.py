"""Read the rows of a report from MLflow instead of from run folders."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from harness.core.errors import UserError, why
from harness.runs.config import Config
from harness.runs.folder import Fault, readable
from harness.runs.row import Find, Row
from harness.tracking import store, tags
from harness.tracking.tags import row_of_tags

if TYPE_CHECKING:
    import mlflow.entities as ml
    from mlflow import MlflowClient


def read_rows(config: Config, check: Callable[[Row], Row]) -> list[Row | Fault]:
    """One row for each run in MLflow, newest first, or why it cannot be read; UserError if MLflow does not answer.

    check: raises an error if a row cannot be shown.
    """
    where = store.uri(config)
    if where.startswith("sqlite:///") and not Path(where.removeprefix("sqlite:///")).is_file():
        raise UserError(
            f"There is no MLflow database at {where.removeprefix('sqlite:///')}. Run something first, or say where it "
            "is: runs=FOLDER or tracking=URI."
        )
    copies = TemporaryDirectory(prefix="report-")  # lives as long as the rows that use it
    try:
        client = store.connect(config)
        runs = [run for run in _all_runs(client) if "state" in run.data.tags]  # older versions made parents without
    except Exception as error:  # MLflow raises those of its database, of the network and its own
        raise UserError(
            f"MLflow at {where} does not answer: {why(error)}\nStart it, wait until nobody holds its lock, or say "
            "tracking=URI."
        ) from None

    def row(run: "ml.Run") -> Row:
        return check(row_of_tags(tags.plain_tags(run.data.tags), _artifacts(client, run.info, copies)))

    return [readable(Path(run.info.run_name or run.info.run_id), lambda _, run=run: row(run)) for run in runs]


def _all_runs(client: "MlflowClient") -> list["ml.Run"]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    pages = [client.search_runs(experiments)]
    while token := pages[-1].token:
        pages.append(client.search_runs(experiments, page_token=token))
    return [run for page in pages for run in page]


def _artifacts(client: "MlflowClient", info: "ml.RunInfo", copies: "TemporaryDirectory[str]") -> Find:
    """The finder of a run's files: in its folder of artifacts if that is on this machine, else downloaded."""
    run, where = info.run_id, urlsplit(info.artifact_uri or "")
    if where.scheme in ("", "file"):
        here = Path(url2pathname(where.path))
        return lambda name: here / name  # not copied, so that nobody's links are followed

    @cache
    def names() -> set[str]:
        return {file.path for file in client.list_artifacts(run)}

    @cache
    def find(name: str) -> Path | None:
        if name not in names():
            return None
        folder = Path(copies.name) / run
        folder.mkdir(exist_ok=True)
        return Path(client.download_artifacts(run, name, str(folder)))

    return find
