"""A full disk, a reader that leaves, a closed stream or Ctrl-C ends a command in words, or in none."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import bare, start

HARNESS = [sys.executable, "-m", "harness"]
VERBS = ["list", "--help", "status"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path


def ended(*arguments: str, folder: Path, **streams: object) -> tuple[int, str]:
    """Run a command; return its exit status and what it says on stderr, where Python holds its output back."""
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    given: dict = {"stderr": subprocess.PIPE, **streams}
    done = subprocess.run([*HARNESS, *arguments], cwd=folder, env=environment, text=True, timeout=300, **given)
    return done.returncode, done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_told_once(verb: str, folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        assert ended(verb, folder=folder, stdout=full) == (
            2,
            "The output cannot be written: No space left on device.\n",
        )


@pytest.mark.parametrize("verb", VERBS)
def test_a_reader_that_leaves_is_no_error(verb: str, folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert ended(verb, folder=folder, stdout=write) == (141, "")
    finally:
        os.close(write)


@pytest.mark.parametrize("verb", ["--help", "status"])
def test_a_closed_output_is_no_error(verb: str, folder: Path) -> None:
    close = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', 'harness', sys.argv[1]])"
    done = subprocess.run([sys.executable, "-c", close, verb], cwd=folder, text=True, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_message_that_cannot_be_written_costs_nothing_else(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        assert ended("nonsense", folder=folder, stderr=full, stdout=subprocess.PIPE)[0] == 2


def test_letters_that_a_terminal_lacks_are_no_error(folder: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    done = subprocess.run([*HARNESS, "--help"], cwd=folder, env={**os.environ, **plain}, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and b"[key=value ?]" in done.stdout


def test_a_run_whose_reader_leaves_has_not_failed(tmp_path: Path) -> None:
    process = start(*bare("standard", steps=400), folder=tmp_path)
    assert process.stdout and process.stderr
    while "train" not in process.stdout.readline():
        assert process.poll() is None, process.stderr.read()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=300)) == ("", 141)
    assert not list(tmp_path.rglob("failure.md")) and not list(tmp_path.rglob("record.json"))


def test_ctrl_c_ends_the_processes_of_a_sweep_without_a_traceback(tmp_path: Path) -> None:
    arguments = ["-m", *bare("standard", steps=4000), "seed=0,1", "launcher=processes", "launcher.parallel=1"]
    process = subprocess.Popen(
        [*HARNESS, *arguments],
        cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )  # fmt: skip
    while not list(tmp_path.glob("runs/*/progress.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes in the foreground
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and err == "\nInterrupted. The same command continues.\n"
    assert "interrupted" in out.splitlines()[-1]
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # none is left
