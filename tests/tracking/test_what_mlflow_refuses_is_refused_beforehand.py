"""Addresses and names that MLflow would refuse during a run are refused before it, with what to write instead."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name
from recorded import finish, make, robust

import harness as api
from harness import tracking
from harness.core.errors import UserError
from harness.runs.run import Run
from harness.tracking import outbox
from harness.tracking.tags import NAME

NO_STORES = {
    "localhost:5000": "tracking=http://localhost:5000",
    "mlflow.example.org:80/x": "tracking=http://mlflow.example.org:80/x",
    "file:/scratch/mlruns": "tracking=sqlite:////scratch/mlruns/mlflow.db",
    "file:///scratch/mlruns": "tracking=sqlite:////scratch/mlruns/mlflow.db",
    "/scratch/mlruns": "tracking=sqlite:////scratch/mlruns/mlflow.db",
    "./mlruns": f"tracking=sqlite:///{Path('mlruns').absolute()}/mlflow.db",
    "mlflow.db": "tracking=sqlite:///",
    "http://": "tracking=http://HOST:5000",
}
"""Texts that are no store, each with what to write instead."""


@pytest.mark.parametrize(("given", "instead"), NO_STORES.items(), ids=NO_STORES)
def test_what_is_no_store_is_refused_with_what_to_write(given: str, instead: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        api.plan("method=at", f"runs={tmp_path / 'runs'}", f"tracking='{given}'")
    assert instead in str(refused.value) and f"tracking={given}" in str(refused.value)
    suggested = re.findall(r"tracking=(\S+)", str(refused.value))[1].rstrip(",.")
    assert tracking.uri(make(tmp_path, tracking=suggested).config) == suggested
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["databricks", "databricks://me", "uc", "mssql+pyodbc://host/x", "plugin://host"])
def test_other_stores_of_mlflow_are_taken(uri: str, tmp_path: Path) -> None:
    assert tracking.uri(make(tmp_path, tracking=uri).config) == uri


@pytest.mark.parametrize("name", ["calib+20", "ood+svhn"])
def test_a_name_that_mlflow_refuses_is_refused_at_the_beginning(name: str, tmp_path: Path) -> None:
    typed = [
        "method=at",
        f"runs={tmp_path / 'runs'}",
        f"+protocol.metrics={{{name}: {{metric: calibration, split: test, bins: 10}}}}",
    ]
    with pytest.raises(UserError, match=re.escape(name)) as refused:
        api.plan(*typed)
    assert "letters, digits, spaces and . _ - : /" in str(refused.value) and "tracking=off" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert api.plan(*typed, "tracking=off")


@pytest.mark.parametrize("name", ["calib20", "a.b-c_d/e:f g", "é"])
def test_the_names_that_are_taken_are_those_that_mlflow_takes(name: str) -> None:
    assert NAME.fullmatch(name)
    for validate in (_validate_metric_name, _validate_param_name, _validate_tag_name):
        validate(name)


def test_sync_of_no_folder_is_one_message(type_, tmp_path: Path) -> None:
    status, out, err = type_("sync", "runs=/nowhere")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "/nowhere" in err


def test_sync_to_no_store_is_one_message(type_, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    status, out, err = type_("sync", "tracking=localhost:5000")
    assert (status, out) == (2, "") and "tracking=http://localhost:5000" in err


def test_sync_of_all_passes_over_runs_that_are_not_tracked(type_, root: Path) -> None:
    finish(make(root, 0), robust(50.0))
    off = finish(make(root, 1, tracking="off"), robust(60.0))
    status, out, err = type_("sync", "all=true", folder=root)
    assert (status, err) == (0, "") and "MLflow: 1 run sent, 0 still to be sent." in out
    assert not (off.folder / "mlflow.json").exists()
    outbox.enqueue(Run(replace(off.config)))  # as older versions did
    status, out, err = type_("sync", folder=root)
    assert (status, err) == (0, "") and "0 runs sent, 0 still" in out
