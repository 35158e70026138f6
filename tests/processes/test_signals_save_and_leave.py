"""On a signal to stop, a run finishes the step, saves it and exits; the same command continues from there."""

import os
import signal
import time

import psutil
import pytest
from commandline import bare, quick, start

from harness.core.files import read_json
from harness.core.signals import Leave, defer_signals, handle_signals
from harness.runs import record

LONG = ("checkpoint_seconds=3600",)
"""No regular checkpoint is due, so there is one only if the signal causes it."""


def training(folder):
    """Whether the log of a stage has started."""
    return any(path.stat().st_size for path in folder.glob("runs/stages/*/metrics.jsonl"))


def told(folder, arguments):
    """Start the command and send it SIGTERM in training; return its exit status and its stderr."""
    process = start(*arguments, folder=folder)
    while process.poll() is None and not training(folder):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def test_term_in_training_saves_the_step_and_the_same_command_goes_on(tmp_path):
    arguments = [*bare("at", steps=300), *LONG]
    status, err = told(tmp_path, arguments)
    assert status == 143 and "same command" in err and "Traceback" not in err, err
    assert len(list(tmp_path.glob("runs/stages/*/checkpoints/*.pt"))) == 1

    process = start(*arguments, folder=tmp_path)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (path,) = tmp_path.glob("runs/*/record.json")
    found = record.read(path)
    assert found.state == "done" and found.cost and found.cost.stages[0].resumed == 1
    assert read_json(path.parent / "started") == 2


def test_term_in_the_evaluation_leaves_at_once_and_loses_no_piece(tmp_path):
    arguments = [*quick("at", steps=8), *LONG, "protocol.metrics.robustness.eps=0.5"]
    process = start(*arguments, folder=tmp_path)
    while process.poll() is None and not list(tmp_path.glob("runs/*/samples/[0-9]*.npy")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 143 and "Traceback" not in err, err
    assert not list(tmp_path.glob("runs/*/record.json")) and not list(tmp_path.glob("runs/*/failure.md"))
    assert list(tmp_path.glob("runs/*/samples/[0-9]*.npy"))


def test_processes_that_share_an_evaluation_end_with_their_command(tmp_path):
    arguments = [*quick("at", steps=8), *LONG, "evaluators=2", "protocol.metrics.robustness.eps=0.5"]
    process = start(*arguments, folder=tmp_path)
    while process.poll() is None and not list(tmp_path.glob("runs/*/samples/[0-9]*.npy")):
        time.sleep(0.01)
    helpers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143 and len(helpers) >= 2
    _, alive = psutil.wait_procs(helpers, timeout=5)
    assert not alive


def test_a_signal_in_the_last_moments_of_a_stage_is_heeded_after_them():
    with pytest.raises(Leave), handle_signals(), defer_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        finished = True
    assert finished
    with handle_signals(), defer_signals() as told:
        assert not told.leave, "no state of the previous signal may remain"
