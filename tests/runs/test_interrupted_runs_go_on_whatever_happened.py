"""A resumed run gives the record of an uninterrupted one, even with damaged checkpoints, a moved folder or clock."""

import random
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from commandline import bare, harness, start

import harness as api
from harness.core.files import read_lines
from harness.runs import record
from harness.runs.execute import execute
from harness.runs.progress import Watch
from harness.runs.run import Run, load
from harness.training.loop import Progress

ARGUMENTS = [*bare("at", steps=12), "device=cpu", "checkpoint_seconds=0", "tracking=null"]


class Interrupting(Watch):
    """A watch that interrupts the run during training, as Ctrl-C does."""

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """Interrupt at step 7."""
        if progress.step == 7:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> record.Record:
    """The record of the run without an interruption."""
    folder = tmp_path_factory.mktemp("unharmed")
    status, out, err = harness(*ARGUMENTS, folder=folder)
    assert status == 0, out + err
    return read(folder)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, unharmed: record.Record) -> Path:
    """A folder with one run, interrupted with two checkpoints; tests use a copy, so the folder also counts as moved."""
    folder = tmp_path_factory.mktemp("interrupted")
    (run,) = api.plan(*ARGUMENTS, f"runs={folder}/runs")
    run = Run(replace(run.config, overrides=unharmed.overrides))  # spelled as on the command line
    run.freeze()
    with pytest.raises(KeyboardInterrupt):
        execute(run, Interrupting())
    for thread in threading.enumerate():  # wait for the sender, for which an interrupted run does not wait
        if thread.name.startswith("mlflow"):
            thread.join()
    assert run.state == "interrupted" and len(checkpoints(folder)) == 2
    return folder


@pytest.fixture
def folder(interrupted: Path, tmp_path: Path) -> Path:
    """A copy of the folder of the interrupted run."""
    shutil.copytree(interrupted, tmp_path / "copy")
    return tmp_path / "copy"


def read(folder: Path) -> record.Record:
    """Return the only record of a folder."""
    (path,) = folder.glob("runs/*/record.json")
    return record.read(path)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the oldest first."""
    return sorted(folder.glob("runs/stages/*/checkpoints/[0-9]*.pt"))


def gone_on(folder: Path) -> record.Record:
    """Resume the interrupted run; return its record."""
    (path,) = folder.glob("runs/*/config.yaml")
    return execute(load(path.parent), Watch())


def truncated(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def flipped(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def removed(path: Path, rng: random.Random) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, flipped, removed])
@pytest.mark.parametrize("which", [[1], [0], [0, 1]], ids=["newest", "older", "both"])
def test_a_damaged_checkpoint_costs_what_was_trained_since_the_one_before(
    damage: Callable[[Path, random.Random], None], which: list[int], folder: Path, unharmed: record.Record
) -> None:
    rng, there = random.Random(f"{damage.__name__} {which}"), checkpoints(folder)
    for index in which:
        damage(there[index], rng)
    found = gone_on(folder)
    assert found.result() == unharmed.result()
    assert found.cost and found.cost.stages[0].resumed == (0 if len(which) == 2 else 1)


def test_the_command_names_what_is_damaged_and_begins_anew_where_nothing_sound_is_left(folder, unharmed, type_):
    for path in checkpoints(folder):
        truncated(path, random.Random(0))
    status, _, err = type_(*ARGUMENTS, folder=folder)
    assert status == 0 and "Traceback" not in err
    assert [line.split()[0] for line in err.splitlines()] == ["Checkpoint"] * 2
    assert read(folder).result() == unharmed.result()


def test_curves_cut_short_are_whole_again(folder, unharmed):
    (curves,) = folder.glob("runs/stages/*/metrics.jsonl")
    curves.write_text(curves.read_text() + '{"step": 8, "images": 128}\n{"step": 9, "ima')
    assert gone_on(folder).result() == unharmed.result()
    assert [line["step"] for line in read_lines(curves)] == list(range(1, 13))


def test_a_folder_that_was_moved_is_gone_on_with_where_it_is_and_writes_nothing_where_it_was(
    interrupted, folder, unharmed, type_
):
    from mlflow import MlflowClient

    before = sorted(interrupted.rglob("*"))
    status, _, err = type_(*ARGUMENTS, folder=folder)
    assert (status, err) == (0, "")
    found = read(folder)
    assert found.result() == unharmed.result()
    assert found.cost and found.cost.stages[0].resumed == 1
    assert sorted(interrupted.rglob("*")) == before
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    (there,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert {"config.yaml", "record.json"} <= {file.path for file in client.list_artifacts(there.info.run_id)}
    assert Path(there.info.artifact_uri.removeprefix("file://")).is_relative_to(folder)


def test_a_clock_that_jumps_back_changes_nothing(folder, unharmed, monkeypatch):
    now, calls = time.time(), count()
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(calls))
    found = gone_on(folder)
    assert next(calls) > 1, "the clock must have been read"
    assert found.result() == unharmed.result()
    assert found.cost and 0 < found.cost.training_seconds < 600 and 0 < found.cost.evaluation_seconds < 600
    (curves,) = folder.glob("runs/stages/*/metrics.jsonl")
    seconds = [line["seconds"] for line in read_lines(curves)]
    assert len(seconds) == 12 and seconds == sorted(seconds)


def test_two_identical_commands_at_the_same_moment_train_once(unharmed, tmp_path):
    both = [start(*ARGUMENTS, folder=tmp_path) for _ in range(2)]
    printed = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    found = read(tmp_path)
    assert found.result() == unharmed.result()
    assert found.cost and found.cost.stages[0].resumed == 0
    assert sorted("train robust" in out for out, _ in printed) == [False, True]
