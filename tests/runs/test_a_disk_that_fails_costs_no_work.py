"""A full or read-only disk is explained; once it is repaired, the same command finishes the run."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from commandline import bare, start
from disks import Disk, small_disk

import harness as api
from harness.runs import record
from harness.runs.execute import execute
from harness.runs.failure import RunFailed
from harness.runs.progress import Watch
from harness.runs.run import Run
from harness.training.loop import Progress

ARGUMENTS = [*bare("at", steps=8, keep=("fidelity",)), "device=cpu", "checkpoint_seconds=0"]

MOMENTS = ("checkpoint", "weights", "samples", "robustness", "record")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run whose folder holds everything that other runs may reuse."""
    (run,) = api.plan(*ARGUMENTS, f"runs={tmp_path_factory.mktemp('undisturbed')}")
    api.run(run)
    return run


@pytest.fixture
def disk(tmp_path, undisturbed) -> Iterator[Disk]:
    """A small disk on which the extractor is already trained."""
    with small_disk(tmp_path / "disk", 60) as made:
        shutil.copytree(undisturbed.root / "cache", made.path / "runs" / "cache")
        yield made


def result(run: Run) -> dict[str, object]:
    return record.read(run.folder / "record.json").result()


def begun(disk: Disk, *more: str) -> Run:
    (run,) = api.plan(*ARGUMENTS, f"runs={disk.path}/runs", *more)
    run.freeze()
    return run


@dataclass
class Filling(Watch):
    """A watch that fills the disk at a given moment of the run."""

    disk: Disk
    moment: str

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        if (self.moment == "checkpoint" and progress.step == 3) or (self.moment == "weights" and progress.step == 8):
            self.disk.fill()

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        last = list(run.config.protocol["metrics"])[-1]
        if (what, done) == (self.moment, 0) or (self.moment == "record" and (what, done) == (last, total)):
            self.disk.fill()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_becomes_full_stops_the_run_and_its_work_is_kept(moment, disk, undisturbed):
    run = begun(disk)
    with pytest.raises(RunFailed) as failed:
        execute(run, Filling(disk, moment))
    assert "cannot be written (No space left on device). Free disk space" in str(failed.value)
    assert str(disk.path) in str(failed.value)
    assert not (run.folder / "record.json").exists()
    disk.empty()
    (again,) = api.plan(*ARGUMENTS, f"runs={disk.path}/runs", "retry=true")
    assert api.run(again).result() == result(undisturbed)
    assert [path for path in disk.path.rglob(".*") if "@" in path.name] == []


def test_a_folder_that_cannot_be_written_to_is_named_and_can_still_be_looked_at(disk, undisturbed, type_, tmp_path):
    shutil.copytree(undisturbed.folder, disk.path / "runs" / undisturbed.name)
    arguments = [*bare("at", steps=100, keep=("fidelity",)), "seed=1", f"runs={disk.path}/runs"]
    process = start(*arguments, folder=tmp_path)
    while process.poll() is None and not list(disk.path.glob("runs/stages/*/checkpoints/[0-9]*.pt")):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = sorted(disk.path.rglob("*"))
    disk.protect()
    try:
        for more in ([], ["launcher=processes"]):
            status, out, err = type_(*arguments, *more)
            assert status == 2, out + err
            assert f"{disk.path}/runs" in err and "cannot be written (Read-only file system)" in err
            assert "Traceback" not in out + err
        status, out, err = type_("status", f"runs={disk.path}/runs")
        assert (status, err) == (0, "")
        assert "interrupted" in out and "done" in out
        assert sorted(disk.path.rglob("*")) == before
    finally:
        disk.open()
    status, out, err = type_(*arguments)
    assert status == 0, out + err
    (path,) = disk.path.glob("runs/*-s1-*/record.json")
    (stage,) = record.read(path).cost.stages
    assert stage.resumed == 1


def test_runs_on_a_disk_without_any_room_are_refused_in_one_line(disk, type_):
    disk.fill()
    status, out, err = type_(*ARGUMENTS, f"runs={disk.path}/runs")
    assert status == 2 and "No space left on device" in err and "Traceback" not in out + err
