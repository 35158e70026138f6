"""The runs of a report, read from the folders of runs or from their mirror in MLflow: the same rows."""

import logging
from pathlib import Path

from harness.core.errors import Unreadable, UserError, why
from harness.reports.series import page_name
from harness.runs.config import Config
from harness.runs.folder import Fault, readable
from harness.runs.row import Row, row_of
from harness.runs.run import Run, folders
from harness.tracking.reader import read_rows

log = logging.getLogger(__name__)


def rows(config: Config, source: str = "folders") -> list[Row]:
    """Return the rows of `find_rows`; log a warning for each run that cannot be read."""
    found, faults = find_rows(config, source)
    for fault in faults:
        log.warning("%s", fault)
    return found


def find_rows(config: Config, source: str = "folders") -> tuple[list[Row], list[Fault]]:
    """Return all runs of a folder of runs, or of MLflow, sorted by name, and what cannot be read.

    A run that occurs twice, such as a copy of a folder, is one row. UserError if there is no run.
    """
    everything = read_rows(config, check) if source == "mlflow" else _read_folders(Run(config).root)
    if not everything:
        where = "MLflow" if source == "mlflow" else str(Run(config).root)
        raise UserError(f"{where} holds no run. Run something first, or say where the runs are: runs=FOLDER.")
    # Keep the first of several rows of one run; its name is also that of its page.
    unique: dict[str, Row] = {}
    for row in everything:
        if isinstance(row, Row):
            unique.setdefault(row.name, row)
    faults = sorted(fault for fault in everything if isinstance(fault, Fault))
    return sorted(unique.values(), key=lambda row: row.name), faults


def _read_folders(root: Path) -> list[Row | Fault]:
    """The rows of all folders; folders that have the name of their run come before copies, which may say anything."""
    by_folder = {folder: readable(folder, lambda path: check(row_of(path))) for folder in sorted(folders(root))}
    return [row for folder, row in sorted(by_folder.items(), key=lambda item: item[0].name != item[1].name)]


def check(row: Row) -> Row:
    """Return a row as it is; Unreadable if no section or study of a report can show it."""
    try:
        page_name(row)
        if row.study:
            from harness.reports.stability import check_outcome

            check_outcome(row)
    except UserError as error:
        raise Unreadable("record.json" if row.origin else "config.yaml", why(error)) from None
    return row
