"""Where a file system takes no locks, nothing is run, and what only looks goes on; both say why, in one line."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
from commandline import bare

from harness.core import files
from harness.core.errors import UserError
from harness.core.files import check_locks, locked_file
from harness.datasets.cifar import CIFAR10
from harness.datasets.digits import Digits
from harness.datasets.outliers.svhn import SVHN
from harness.runs import folder as run_folder
from harness.runs.folder import is_locked, lock

FAULTS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP]


@pytest.fixture(params=FAULTS, ids=errno.errorcode.get)
def lockless(request, monkeypatch):
    """A machine on which no file can be locked."""

    def fail(*_):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", fail)
    run_folder._tell.cache_clear()
    return os.strerror(request.param)


def test_a_run_is_refused_in_one_message_before_anything_is_written(lockless, type_, tmp_path):
    status, _, err = type_(*bare("standard", steps=4), "runs=there/runs")
    assert status == 2 and err.count("\n") == 1 and list(tmp_path.iterdir()) == []
    assert lockless in err and "option flock" in err and "lockd" in err and "runs=FOLDER" in err


def test_a_lock_is_refused_and_never_made_of_a_file_alone(lockless, tmp_path):
    with pytest.raises(UserError, match="takes no locks"):
        lock(tmp_path / "run").acquire()
    assert list((tmp_path / "run").iterdir()) == []


def test_what_a_run_would_fetch_or_make_once_is_refused_too(lockless, monkeypatch, tmp_path):
    fetched = []
    for name in ("CIFAR10", "SVHN"):
        monkeypatch.setattr(f"torchvision.datasets.{name}", lambda *given, **more: fetched.append(given))
    places = [CIFAR10(root=str(tmp_path), download=True), SVHN(Digits(), root=str(tmp_path), download=True)]
    for place in places:
        with pytest.raises(UserError, match=r"takes no locks.*data\.root=FOLDER"):
            place.ready()
    with pytest.raises(UserError, match="takes no locks"), locked_file(tmp_path / "statistics.npz"):
        pass
    assert fetched == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "verb", [["status"], ["plan", "method=standard", "tracking=off"], ["sync"]], ids=lambda v: v[0]
)
def test_what_only_looks_goes_on_and_says_what_it_is_worth(lockless, verb, type_, tmp_path):
    folder = tmp_path / "runs" / "standard-digits-s0-0123abcd"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("{}")
    (folder / "lock").touch()
    status, out, err = type_(*verb)
    assert status == 0 and "Traceback" not in err
    if verb == ["status"]:
        assert "queued" in out and err.count("\n") == 1 and lockless in err and "no run is shown as running" in err


def test_other_faults_of_locks_are_not_taken_for_it(monkeypatch, tmp_path):
    def fail(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", fail)
    (tmp_path / "lock").touch()
    for call in (check_locks, is_locked):
        with pytest.raises(OSError, match="broken"):
            call(tmp_path)


def test_a_folder_that_may_not_be_written_is_not_taken_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(files.tempfile, "TemporaryFile", lambda dir: (_ for _ in ()).throw(PermissionError(13, "no")))
    check_locks(tmp_path / "a" / "b")


def test_a_file_system_with_locks_is_taken(tmp_path):
    check_locks(Path(tmp_path) / "none" / "yet")
    assert list(tmp_path.iterdir()) == []
