"""A fault in training ends the run in a named state, says what went wrong and what to do, and never hangs."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import on_disk
import pytest
import torch
from commandline import quick

import harness as api
from harness.core import loader
from harness.core.errors import UserError
from harness.core.loader import batches
from harness.runs import record
from harness.runs.execute import execute
from harness.runs.failure import RunFailed
from harness.runs.progress import Watch
from harness.runs.run import Run
from harness.training.loop import Progress

EXPLODING = {
    "jem": ["method.energy.chains.walk.step=1e30"],
    "at": ["method.robust.training.lr=1e30"],
}


@pytest.mark.parametrize("method", EXPLODING)
def test_what_explodes_diverges_and_the_tables_show_it(method, type_, tmp_path):
    sizes = [override for override in quick(method) if not override.lstrip("+").startswith("protocol.")]
    arguments = [*sizes, "protocol=digits_stability", *EXPLODING[method]]
    status, out, err = type_(*arguments)
    assert status == 0, out + err
    (path,) = tmp_path.glob("runs/*/record.json")
    found = record.read(path)
    assert found.state == "diverged" and "at step" in found.reason and not found.scores
    assert "diverged" in out and found.reason in out
    status, out, _ = type_("status")
    assert status == 0 and "diverged" in out and found.reason[:20] in out


class Meddling(Watch):
    """A watch that calls `meddle` on the data after the first step."""

    def __init__(self, meddle: Callable[[Path], None], data: Path) -> None:
        self.meddle, self.data = meddle, data

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """Call `meddle` once."""
        if progress.step == 1:
            self.meddle(self.data)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """A run of adversarial training on photographs that two worker processes load, and the folder of the images."""
    on_disk.imagenet(tmp_path / "data" / "imagenet", 2, 12)
    on_disk.openimages(tmp_path / "data" / "openimages")
    monkeypatch.chdir(tmp_path)
    sizes = ["data.size=32", "data.validation=2", "outliers.reserve=2", "workers=2", "model=timm", "threads=1"]
    training = [f"method.robust.training.{field}" for field in ("batch=4", "epochs=12", "lr=1e-4")]
    (run,) = api.plan("method=at", "data=imagenet256", "method.robust.attack.steps=1", *sizes, *training)
    run.freeze()
    return run, tmp_path / "data" / "imagenet" / "train"


def one_vanishes(data: Path) -> None:
    """Remove one of the images that are loaded in each epoch."""
    (data / on_disk.WNIDS[1] / f"{on_disk.WNIDS[1]}_5.JPEG").unlink()


def all_vanish(data: Path) -> None:
    """Remove all images, as when a disk is unmounted."""
    shutil.rmtree(data)


def one_is_cut(data: Path) -> None:
    """Cut an image short, as while it is being copied again."""
    path = data / on_disk.WNIDS[1] / f"{on_disk.WNIDS[1]}_5.JPEG"
    path.write_bytes(path.read_bytes()[:100])


def a_loader_is_killed(data: Path) -> None:
    """Kill a data loader process, as the system does when memory runs out."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGKILL)
        return


FAULTS = {
    one_vanishes: [f"{on_disk.WNIDS[1]}_5.JPEG", "data.on_bad_image=skip"],
    one_is_cut: [f"{on_disk.WNIDS[1]}_5.JPEG", "data.on_bad_image=skip"],
    all_vanish: [".JPEG"],
    a_loader_is_killed: ["A process that loads images", "workers=N"],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_processes_that_load_images_is_named_in_one_line(fault, planned):
    run, data = planned
    with pytest.raises(RunFailed) as failed:
        execute(run, Meddling(fault, data))
    assert run.state == "failed"
    told = (run.folder / "failure.md").read_text().splitlines()[2]
    assert all(part in told for part in FAULTS[fault]), told
    assert all(part in str(failed.value).splitlines()[0] for part in FAULTS[fault])


def test_a_batch_that_finds_no_shared_memory_is_an_error_and_never_waited_for(digits, monkeypatch):
    def fail(tensor):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device")

    monkeypatch.setattr(loader, "check_sharing", lambda: None)
    monkeypatch.setattr(torch.Tensor, "share_memory_", fail)
    with pytest.raises(UserError, match=r"/dev/shm.*too small.*workers=0"):
        next(batches(digits.view("train", "plain"), 100, 8, seed=0, start=0, stop=4, workers=1))
