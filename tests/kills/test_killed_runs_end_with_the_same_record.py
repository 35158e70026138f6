"""After kill -9 in training, sampling or attacks, the same command gives the record of an uninterrupted run."""

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

from commandline import bare, quick, start

from harness.runs import record

KILLS = 6
"""Number of random kills, over several methods; python tests/kills 200 makes more of them."""

MOMENTS = {
    "training": "runs/stages/*/checkpoints/[0-9]*.pt",
    "choosing": "runs/*/selection/*/0*.npy",
    "sampling": "runs/*/samples/0*.npy",
    "attacking": "runs/*/parts/robustness/0*.json",
}


def kill_when(pattern: str, folder: Path, arguments: list[str]) -> bool:
    """Start the command and kill it when a file of that pattern exists; return whether it was still running."""
    process = start(*arguments, folder=folder)
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)
    process.kill()
    process.communicate()
    return process.returncode == -9


def kill_after(seconds: float, folder: Path, arguments: list[str]) -> None:
    """Start the command and kill it after a number of seconds, whatever it is doing."""
    process = start(*arguments, folder=folder)
    time.sleep(seconds)
    process.kill()
    process.communicate()


def finished(process: subprocess.Popen[str], folder: Path) -> tuple[record.Record, str]:
    """Wait for the command to end; return the record and the output."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (path,) = folder.glob("runs/*/record.json")
    return record.read(path), out


def test_a_run_killed_at_every_kind_of_moment_ends_with_the_same_record(tmp_path):
    arguments = quick("atjem")  # two stages and a curriculum; all methods are killed at random below
    unharmed, killed = tmp_path / "unharmed", tmp_path / "killed"
    unharmed.mkdir(), killed.mkdir()
    reference = start(*arguments, folder=unharmed)

    assert kill_when(MOMENTS["training"], killed, arguments), "the run ended before it could be killed in training"
    kill_after(random.Random(0).uniform(2, 8), killed, arguments)
    for moment in ("choosing", "sampling", "attacking"):
        kill_when(MOMENTS[moment], killed, arguments)
    found, _ = finished(start(*arguments, folder=killed), killed)

    expected, _ = finished(reference, unharmed)
    assert found.result() == expected.result()
    assert found.cost and sum(stage.resumed for stage in found.cost.stages) >= 1


def test_runs_of_several_methods_killed_at_random_end_with_the_same_records():
    command = [sys.executable, str(Path(__file__).parent), str(KILLS)]
    helpers = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=helpers, text=True, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    kills, runs, equal = map(int, re.findall(r"\d+", done.stdout.splitlines()[-1]))
    assert kills >= KILLS and runs == equal > 0


def test_a_finished_run_is_not_run_again(tmp_path):
    first, _ = finished(start(*bare("at", steps=4), folder=tmp_path), tmp_path)
    again, out = finished(start(*bare("at", steps=4), folder=tmp_path), tmp_path)
    assert again == first  # including cost and creation time: nothing was written
    assert "train" not in out
