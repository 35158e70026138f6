"""Previews of training and the thread that feeds MLflow do not change training, even when they fail."""

from pathlib import Path
from threading import Event

import pytest
from commandline import quick

import harness
from harness import tracking
from harness.runs import previews
from harness.runs.execute import train_stage
from harness.runs.previews import Previews
from harness.runs.progress import Watch
from harness.runs.run import Run
from harness.tracking import sender
from harness.tracking.sender import Sender


def trained(folder: Path, watch: Watch | None = None) -> Run:
    """A run of AT, whose net updates batch statistics, after training its only stage."""
    (run,) = harness.plan(*quick("at", steps=16), f"runs={folder}")
    train_stage(run, run.stage_runs[0], watch or Watch())
    return run


def kept(run: Run) -> tuple[bytes, bytes, list[str]]:
    """The weights, state and previews of the stage."""
    folder = run.stage_runs[0].folder
    tensors = [(folder / f"{name}.safetensors").read_bytes() for name in ("weights", "state")]
    return tensors[0], tensors[1], sorted(path.name for path in folder.glob("glimpses/*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes, list[str]]:
    """The result of training without previews."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(previews, "SHARE", 0)
        return kept(trained(tmp_path_factory.mktemp("undisturbed")))


def test_glimpses_change_no_bit(undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(previews, "SHARE", 1e9)
    run = trained(tmp_path)
    assert kept(run)[:2] == undisturbed[:2]
    steps = [step for step, _ in previews.glimpses(run)]
    assert steps == [32 * i for i in range(9)] and not undisturbed[2]


def test_a_glimpse_that_fails_is_the_last(undisturbed, tmp_path, monkeypatch):
    asked = []

    def fail(self: Previews, progress: object) -> None:
        asked.append(progress)
        raise MemoryError

    monkeypatch.setattr(previews, "SHARE", 1e9)
    monkeypatch.setattr(Previews, "_draw", fail)
    assert kept(trained(tmp_path)) == undisturbed and len(asked) == 1


def test_training_does_not_wait_for_a_server_that_hangs(undisturbed, tmp_path, monkeypatch):
    asked, answered = Event(), Event()

    def hang(*_: object, **__: object) -> bool:
        asked.set()
        return answered.wait(20)

    monkeypatch.setattr(previews, "SHARE", 0)
    monkeypatch.setattr(tracking, "push", hang)
    monkeypatch.setattr(sender, "LAST", 0.01)
    (run,) = harness.plan(*quick("at", steps=16), f"runs={tmp_path}", "tracking=null")
    run.freeze()
    with Sender(run, None) as sending:
        assert asked.wait(60)
        assert kept(trained(tmp_path, sending)) == undisturbed
    assert sending.thread.is_alive(), "training may not wait for the sender"
    answered.set()
    sending.thread.join(60)
    assert not sending.thread.is_alive()
