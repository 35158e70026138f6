"""Temporary files of a killed writer are removed when its work is resumed; those of a running writer are kept."""

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import quick

import harness
from harness.core.files import TEMPORARY, atomic_write, remove_stale, write_json

WRITING = (
    "import sys, time; from pathlib import Path; from harness.core.files import atomic_write\n"
    "with atomic_write(Path(sys.argv[1])) as temporary:\n"
    "    temporary.write_text('half of it'); print(temporary, flush=True); time.sleep(60)"
)


@pytest.fixture
def writing(tmp_path):
    """Another process that is writing a file in a subfolder, and the path of its temporary file."""
    command = [sys.executable, "-c", WRITING, str(tmp_path / "parts" / "0.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_a_killed_writer_is_swept_after_and_a_living_one_is_not(writing, tmp_path):
    process, temporary = writing
    assert remove_stale(tmp_path) == []
    assert temporary.read_text() == "half of it"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert remove_stale(tmp_path) == [temporary]
    assert list((tmp_path / "parts").iterdir()) == []


def test_who_takes_up_a_run_sweeps_its_folder_and_those_of_its_stages(writing, tmp_path):
    process, temporary = writing
    process.kill()
    process.wait()
    kept = [override for override in quick("at", steps=4) if not override.lstrip("+").startswith("protocol.")]
    (run,) = harness.plan(*kept, "protocol=digits_stability", f"runs={tmp_path}/runs")
    left = [folder / temporary.name for folder in (run.folder / "parts", run.stage_runs[0].folder / "checkpoints")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_text("half of it")
    assert harness.run(run).state == "done"
    assert not any(path.exists() for path in left)


def test_what_this_process_is_writing_is_not_swept(tmp_path):
    with atomic_write(tmp_path / "a.json") as temporary:
        assert remove_stale(tmp_path) == []
        temporary.write_text("{}")
    assert (tmp_path / "a.json").read_text() == "{}"


def test_a_writer_of_another_host_is_dead_where_the_lock_is_held(tmp_path):
    with atomic_write(tmp_path / "0000000002-0123456789abcdef.pt") as temporary:
        name = temporary.name
    left = tmp_path / name.replace(f"@{platform.node()}", "@another.host-7.example.org")
    left.touch()
    assert remove_stale(tmp_path) == [left]


@pytest.mark.parametrize("name", [".0.json.lock", ".git", "lock", ".record.json.swp", "mlflow.lock", ".a@b.c"])
def test_nothing_else_is_swept(name, tmp_path):
    (tmp_path / name).write_text("mine")
    assert remove_stale(tmp_path) == []
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("name", ["record.json", "weights.safetensors", "LICENSE", "a.b@c.tar.gz", "0000012.npy"])
def test_temporary_files_are_known_by_their_names_and_keep_the_suffix(name, tmp_path):
    with atomic_write(tmp_path / name) as temporary:
        found = TEMPORARY.fullmatch(temporary.name)
        assert found and found["pid"] == str(os.getpid()) and found["host"] == platform.node()
        assert temporary.suffix == Path(name).suffix or not Path(name).suffix
        assert temporary.name.startswith(".")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600), (0o002, 0o664)])
def test_files_and_folders_have_the_mode_that_the_users_umask_says(umask, mode, tmp_path):
    before = os.umask(umask)
    try:
        write_json(tmp_path / "runs" / "one" / "record.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "runs" / "one" / "record.json").stat().st_mode & 0o777 == mode
    folder = 0o777 & ~umask
    assert [(tmp_path / path).stat().st_mode & 0o777 for path in ("runs", "runs/one")] == [folder, folder]


def test_the_umask_is_not_asked_for_by_setting_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", lambda _: pytest.fail("meanwhile, other threads would write files for everybody"))
    write_json(tmp_path / "record.json", {})
