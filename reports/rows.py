"""The runs of a report, read from the folders of runs or from their mirror in MLflow: the same rows."""

from harness.core.errors import UserError
from harness.runs.config import Config
from harness.runs.row import Row, row_of
from harness.runs.run import Run, folders
from harness.tracking.reader import read_rows


def rows(config: Config, source: str = "folders") -> list[Row]:
    """Return all runs of a folder of runs, or of MLflow, sorted by name.

    A run that occurs twice, such as a copy of a folder, is one row. UserError if there is no run.
    """
    if source == "mlflow":
        all_rows = read_rows(config)
    else:
        all_rows = [row_of(folder) for folder in sorted(folders(Run(config).root))]
    # Keep the first of several rows of one run.
    unique: dict[str, Row] = {}
    for row in all_rows:
        unique.setdefault(row.fingerprint, row)
    if not unique:
        where = "MLflow" if source == "mlflow" else str(Run(config).root)
        raise UserError(f"{where} holds no run. Run something first, or say where the runs are: runs=FOLDER.")
    return sorted(unique.values(), key=lambda row: (row.name, row.fingerprint))
