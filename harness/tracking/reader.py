"""Read the rows of a report from MLflow instead of from run folders."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.runs.config import Config
from harness.runs.row import Find, Row
from harness.tracking import store, tags
from harness.tracking.tags import row_of_tags

if TYPE_CHECKING:
    import mlflow.entities as ml
    from mlflow import MlflowClient


def read_rows(config: Config) -> list[Row]:
    """One row for each run in MLflow, newest first; UserError if MLflow does not answer."""
    from mlflow.exceptions import MlflowException

    where = store.uri(config)
    if where.startswith("sqlite:///") and not Path(where.removeprefix("sqlite:///")).exists():
        return []
    copies = TemporaryDirectory(prefix="report-")  # lives as long as the rows that use it
    try:
        client = store.connect(config)
        runs = [run for run in _all_runs(client) if "state" in run.data.tags]  # parents of multiruns have none
    except MlflowException as error:
        raise UserError(f"MLflow at {where} does not answer: {error}\nStart it, or say tracking=URI.") from None
    return [row_of_tags(tags.plain_tags(run.data.tags), _artifacts(client, run.info.run_id, copies)) for run in runs]


def _all_runs(client: "MlflowClient") -> list["ml.Run"]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    pages = [client.search_runs(experiments)]
    while token := pages[-1].token:
        pages.append(client.search_runs(experiments, page_token=token))
    return [run for page in pages for run in page]


def _artifacts(client: "MlflowClient", run: str, copies: "TemporaryDirectory[str]") -> Find:
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
