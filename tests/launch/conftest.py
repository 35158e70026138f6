"""A cluster whose commands are scripts, and runs for it."""

import pytest
from fake_slurm import FakeSlurm

import harness


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """SLURM's commands of paper, on the PATH."""
    fake = FakeSlurm(tmp_path / "slurm", tmp_path / "runs")
    monkeypatch.setenv("PATH", fake.path)
    return fake


@pytest.fixture
def sweep(tmp_path):
    """A function that plans the runs of some overrides."""
    return lambda *overrides: harness.plan(*overrides, "launcher=slurm", f"runs={tmp_path / 'runs'}")
