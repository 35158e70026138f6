"""A run from the first working commit of the repository can be loaded, reported and evaluated."""

import shutil
from pathlib import Path

import pytest

import harness
from harness.runs.run import load

FIRST = Path(__file__).parent / "first_run"
NAME = "at-digits-s0-6a3da6cd"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return shutil.copytree(FIRST, tmp_path / "runs")


def test_it_is_loaded(folder: Path) -> None:
    run = load(folder / NAME)
    assert (run.config.notes, run.config.init, run.config.threads) == ({}, None, 1)
    assert [training.folder.exists() for training in run.stage_runs] == [True]
    model = harness.load(folder / NAME)
    images, labels = run.data.tensors("test")
    right = int((model(images).argmax(1) == labels).sum())
    assert right == round(0.2 * len(labels)), "the accuracy must be that of its record"


def test_it_is_reported(folder: Path, type_) -> None:
    row = harness.results(f"runs={folder}").iloc[0]
    assert (row["state"], row["clean_accuracy"]) == ("done", 20)
    status, told, _ = type_("report", f"runs={folder}", f"reports={folder.parent / 'reports'}")
    assert status == 0 and "20.0" in told


def test_it_is_evaluated(folder: Path, type_) -> None:
    small = ["protocol=quick", "protocol.samples.count=40", "protocol.samples.chunk=20", "~protocol.metrics.robustness"]
    metrics = ["~protocol.metrics.fidelity"]
    status, told, err = type_("evaluate", f"run={NAME}", f"runs={folder}", *small, *metrics, "tracking=off")
    assert status == 0, told + err
    assert "20.00%" in told
