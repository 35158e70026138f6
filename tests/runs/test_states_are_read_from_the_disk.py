"""A run's state is what its folder says, and a lock ends with its process."""

import subprocess
import sys
import time
from dataclasses import replace

import pytest

import harness
from harness.runs import folder as run_folder
from harness.runs import record
from harness.runs import run as runs
from harness.runs.record import Origin, ProtocolTag, Record


@pytest.fixture
def run(tmp_path):
    (found,) = harness.plan("method=at", f"runs={tmp_path}")
    return found


def write_record(run, state):
    origin = Origin(
        command="", created="", commit="", dirty=False, python="", packages={}, hardware="", device="cpu", threads=1,
        precision="fp32",
    )  # fmt: skip
    found = Record(
        fingerprint=run.fingerprint, series=run.series, state=state, method="at", data="digits", model="digits", seed=0,
        protocol=ProtocolTag(id="digits-1", hash="0"), origin=origin,
    )  # fmt: skip
    record.write(run.folder / "record.json", found)


def test_from_new_to_done(run):
    assert run.state == "new"
    run.freeze()
    assert run.state == "queued"
    (run.folder / "started").touch()
    assert run.state == "interrupted"
    with run_folder.lock(run.folder):
        assert run.state == "running"
    assert run.state == "interrupted"
    (run.folder / "failure.md").write_text("# it failed\n\nwhy\n")
    assert run.state == "failed"


@pytest.mark.parametrize("state", ["done", "diverged", "collapsed", "skipped"])
def test_a_record_tells_the_state(run, state):
    run.freeze()
    write_record(run, state)
    assert run.state == state


def test_the_lock_of_a_killed_process_is_gone(run):
    run.freeze()
    code = (
        "import sys, time; from pathlib import Path; from harness.runs import folder\n"
        "with folder.lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run.folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "locked\n"
    assert run.state == "running"
    holder.kill()
    holder.wait()
    time.sleep(0.1)
    assert run.state == "queued"


def test_a_frozen_run_is_read_back_as_it_was(run):
    run.freeze()
    assert runs.load(run.folder).config == run.config
    assert runs.load(run.folder).fingerprint == run.fingerprint


def test_done_runs_are_left_out_and_failed_ones_wait_for_retry(run):
    from harness.launch.jobs import freeze

    run.freeze()
    (run.folder / "failure.md").write_text("# it failed\n\nwhy\n")
    assert freeze([run]) == []
    retried = runs.Run(replace(run.config, retry=True))
    assert freeze([retried]) == [retried]
    write_record(run, "done")
    assert freeze([retried]) == []
