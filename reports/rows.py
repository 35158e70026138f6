"""The runs that a report is about, from the folders of runs or from MLflow, their mirror: the same rows."""

from harness.core.errors import UserError
from harness.runs.config import Config
from harness.runs.row import Row, row_of
from harness.runs.run import Run, folders
from harness.tracking.reader import read_rows


def rows(config: Config, source: str = "folders") -> list[Row]:
    """All runs of a folder of runs, or of what MLflow holds, in the order of their names.

    A run that is there twice, such as a copy of a folder, is one row. UserError if there is none.
    """
    if source == "mlflow":
        found = read_rows(config)
    else:
        found = [row_of(folder) for folder in sorted(folders(Run(config).root))]
    unique: dict[str, Row] = {}
    for row in found:
        unique.setdefault(row.fingerprint, row)
    if not unique:
        where = "MLflow" if source == "mlflow" else str(Run(config).root)
        raise UserError(f"{where} holds no run. Run something first, or say where the runs are: runs=FOLDER.")
    return sorted(unique.values(), key=lambda row: (row.name, row.fingerprint))
