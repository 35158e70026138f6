"""status --watch ends when no more changes can come, or at Ctrl-C, without a traceback."""

import os
import pty
import signal
import subprocess
import sys

import pytest
from commandline import start
from recorded import some_record

from harness.runs import folder as run_folder
from harness.runs import record

HOLD = """
import sys
from pathlib import Path
from harness.runs import folder
with folder.lock(Path(sys.argv[1])):
    input()
"""


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "at-digits-s0-00000000"
    folder.mkdir(parents=True)
    for name in ("config.yaml", "started"):
        (folder / name).touch()
    return folder


def test_it_goes_on_while_a_run_is_worked_on_and_ends_with_it(run, tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, text=True)
    while not run_folder.is_locked(run):
        assert holder.poll() is None
    watching = start("status", "--watch", folder=tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        watching.wait(5)
    holder.communicate("\n")
    out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0 and "1 interrupted" in out, err


def test_it_does_not_wait_for_what_nobody_works_on(run, tmp_path):
    record.write(run / "record.json", some_record(state="skipped", reason="why", scores={}))
    out, err = start("status", "--watch", folder=tmp_path).communicate(timeout=60)
    assert "1 skipped" in out, err


def heeding_ctrl_c():
    """Handle Ctrl-C as at a terminal; a script's background processes, such as these tests, ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_ends_it_with_the_table(run, tmp_path):
    screen, terminal = pty.openpty()
    command = [sys.executable, "-m", "harness", "status", "watch=true"]
    with run_folder.lock(run), os.fdopen(screen, "rb", buffering=0) as seen:
        watching = subprocess.Popen(
            command, cwd=tmp_path, stdout=terminal, stderr=subprocess.PIPE, preexec_fn=heeding_ctrl_c
        )
        os.close(terminal)
        while b"1 running" not in seen.read(10_000):
            assert watching.poll() is None
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=60)
        assert (watching.returncode, err) == (0, b"") and b"1 running" in seen.read(10_000)
