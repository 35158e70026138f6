"""A folder of runs can be shared: its modes follow the umask, and records of older schemas work beside new ones."""

import json
import os
import shutil
from pathlib import Path

import pytest
from commandline import harness, quick

RUNS = [*quick("at", steps=4)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs, made under a umask that lets the group read, but nobody else."""
    folder = tmp_path_factory.mktemp("finished")
    before = os.umask(0o027)
    try:
        status, out, err = harness("-m", *RUNS, "seed=0,1", "launcher=processes", folder=folder)
    finally:
        os.umask(before)
    assert status == 0, out + err
    return folder


def test_no_file_and_no_folder_is_wider_or_narrower_than_the_umask_says(finished):
    modes = {path: path.stat().st_mode & 0o777 for path in (finished / "runs").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o750}
    files = {mode: path for path, mode in modes.items() if path.is_file()}
    assert set(files) <= {0o640, 0o750}, files
    assert (finished / "runs" / "jobs").is_dir()


def older(path: Path) -> str:
    """Rewrite a record in schema 1, where selections were strings and scores had no table; return the run's name."""
    content = json.loads(path.read_text())
    for score in content["scores"].values():
        score.pop("table")
    content = {key: value for key, value in content.items() if key not in ("canaries", "init")}
    content["protocol"].pop("label")
    path.write_text(json.dumps({**content, "schema_version": 1, "selection": {"steps": "FD on the train split"}}))
    return path.parent.name


def test_records_of_an_older_schema_are_shown_compared_and_reported_beside_new_ones(finished, type_, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    first, second = sorted((tmp_path / "copy").glob("runs/*/record.json"))
    names = [older(first), second.parent.name]
    for verb in (["status"], ["compare", *names], ["report"], [*RUNS, "seed=0"]):
        status, out, err = type_(*verb, folder=tmp_path / "copy")
        assert status == 0 and "Traceback" not in out + err, out + err
        assert verb != ["status"] or all(name in out for name in names)
    assert json.loads(first.read_text())["schema_version"] == 1, "a finished run may not run again"
