"""With launcher.stage_in, a job reads a verified copy of its data, under the same names and with the same numbers."""

import logging

import on_disk
import pytest

import harness
from harness.core.files import sha256
from harness.launch import staging
from harness.launch.jobs import RunJob, freeze
from harness.launch.staging import copy, stage_in
from harness.runs import record

SMALL = (
    "method=standard", "data=folder", "method.classify.training.batch=8", "method.classify.training.epochs=1",
    "threads=1", "tracking=off", "model.width=4", "launcher=slurm",
    *(f"~protocol.metrics.{name}" for name in ("robustness", "fidelity", "ood", "counterfactuals")),
)  # fmt: skip
STAGED = (*SMALL, "launcher.stage_in=$NODE_DISK")


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The disk of the node."""
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


@pytest.fixture
def shared(tmp_path):
    """A folder of pictures on the shared file system; a class is a link."""
    folder = on_disk.pictures(tmp_path / "shared")
    (folder / "plum").rename(tmp_path / "plum")
    (folder / "plum").symlink_to(tmp_path / "plum")
    return folder


def contents(folder):
    return {
        path.relative_to(folder): sha256(path)
        for name in ("apple", "pear", "plum")
        for path in (folder / name).iterdir()
    }


def test_a_job_reads_the_copy_and_gets_the_same_numbers(node, shared, tmp_path, monkeypatch):
    there, here = (harness.plan(*STAGED, f"data.root={shared}", f"runs={tmp_path / name}")[0] for name in ("a", "b"))
    staged = stage_in(there)
    (copied,) = [path for path in node.iterdir() if path.is_dir()]
    assert staged.config.data["root"] == str(copied) and contents(copied) == contents(shared)
    assert (staged.fingerprint, staged.folder) == (there.fingerprint, there.folder)
    assert [s.fingerprint for s in staged.stage_runs] == [s.fingerprint for s in there.stage_runs]

    # A job reads the copy, here where the original is empty meanwhile; another one reads the original.
    freeze([there, here])
    with monkeypatch.context() as patch:
        patch.setattr(staging, "copy", lambda folder, place: copied)
        shared.rename(tmp_path / "away")
        shared.mkdir()
        RunJob(str(there.folder), None)()
        shared.rmdir()
        (tmp_path / "away").rename(shared)
    monkeypatch.delenv("NODE_DISK")
    RunJob(str(here.folder), None)()
    results = [record.read(run.folder / "record.json").result() for run in (there, here)]
    assert results[0] == results[1]


def test_a_copy_is_made_once_and_again_when_the_files_change(node, shared):
    first = copy(shared, node)
    stamp = (first / "apple" / "00.png").stat().st_mtime_ns
    assert copy(shared, node) == first and (first / "apple" / "00.png").stat().st_mtime_ns == stamp
    (shared / "apple" / "00.png").write_bytes((shared / "apple" / "01.png").read_bytes())
    second = copy(shared, node)
    assert second != first and contents(second) == contents(shared)


@pytest.mark.parametrize("fault", ["bits", "space", "folder"])
def test_without_a_whole_copy_the_original_is_read(fault, node, shared, tmp_path, monkeypatch, caplog):
    (run,) = harness.plan(*STAGED, f"data.root={shared}", f"runs={tmp_path / 'runs'}")
    if fault == "bits":
        monkeypatch.setattr(staging, "sha256", lambda path: "0" * 64)
    elif fault == "space":
        monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    else:
        node.rmdir()
    with caplog.at_level(logging.WARNING):
        assert stage_in(run) is run
    words = {"bits": "differs", "space": "are free", "folder": "no folder"}[fault]
    assert words in caplog.text and "read where they are" in caplog.text
    assert not node.exists() or not [path for path in node.iterdir() if path.is_dir()]


def test_other_launchers_copy_nothing(node, shared, tmp_path):
    (run,) = harness.plan(*SMALL, f"data.root={shared}", f"runs={tmp_path / 'runs'}")
    assert stage_in(run) is run
