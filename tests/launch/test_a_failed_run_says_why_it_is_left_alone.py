"""A run that failed before says so, with its reason and retry=true, under every launcher; so does a long warm-up."""

import pytest
from commandline import bare
from fake_slurm import FakeSlurm

import harness

REASON = "OSError: a disk of yesterday"


@pytest.fixture(params=["local", "processes", "slurm"])
def arguments(request, tmp_path, monkeypatch):
    """The command line of a run that failed before."""
    fake = FakeSlurm(tmp_path / "slurm", tmp_path / "runs")
    monkeypatch.setenv("PATH", fake.path)
    arguments = [*bare("standard", steps=2), f"launcher={request.param}", f"runs={tmp_path / 'runs'}"]
    (run,) = harness.plan(*arguments)
    run.freeze()
    (run.folder / "failure.md").write_text(f"# {run.name} failed\n\n{REASON}\n\nFinished work is kept.\n")
    return arguments


def test_the_reason_is_told_and_how_to_try_again(arguments, type_, tmp_path):
    (run,) = harness.plan(*arguments)
    status, out, _ = type_(*arguments)
    assert status == 1 and run.state == "failed"
    assert f"{run.name} failed before: {REASON}" in out and "retry=true" in out
    assert str(run.folder / "failure.md") in out


def test_a_sweep_names_the_failed_run_alone(type_, tmp_path):
    arguments = [*bare("standard", steps=2), f"runs={tmp_path / 'runs'}"]
    failed, sound = harness.plan(*arguments, "-m", "seed=0,1")
    failed.freeze()
    (failed.folder / "failure.md").write_text(f"# {failed.name} failed\n\n{REASON}\n\n")
    status, out, _ = type_(*arguments, "-m", "seed=0,1")
    assert (status, failed.state, sound.state) == (1, "failed", "done")
    assert f"{failed.name} failed before" in out and f"{sound.name} failed before" not in out


def test_a_warm_up_longer_than_training_is_said_in_one_line(type_):
    arguments = ["plan", "method=standard", "method.classify.training.epochs=1", "method.classify.training.batch=128"]
    status, out, _ = type_(*arguments, "method.classify.training.warmup=1000")
    assert status == 0
    assert len([line for line in out.splitlines() if "warmup=1,000" in line and "10 steps" in line]) == 1
    _, out, _ = type_(*arguments, "method.classify.training.warmup=5")
    assert "warmup" not in out
