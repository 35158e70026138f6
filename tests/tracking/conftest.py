"""The fixture shared by tests of MLflow: a folder whose database already has its tables."""

from pathlib import Path

import pytest
from recorded import database


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with an empty database for its runs, and another beside them."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(database())
    (tmp_path / "other.db").write_bytes(database())
    return tmp_path
