"""cancel ends the jobs and processes of the named runs, reports each, and touches nothing else."""

import json
import os
import socket
import subprocess
import sys

import pytest
from slurm_of_paper import asked, install, submitted

import harness
from harness.core.errors import UserError
from harness.launch.cancel import cancel

HERE = socket.gethostname()
WORK = """
import json, os, sys, time
from pathlib import Path
from harness.runs import folder as locks
folder = Path(sys.argv[1])
with locks.lock(folder):
    (folder / "progress.json").write_text(json.dumps({"host": sys.argv[2], "pid": os.getpid()}))
    print("working", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """The folder with the commands of a SLURM that has three jobs in its queue."""
    folder = tmp_path / "tools"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    lines = [f"harness-0000beef|{task}|4711_{task}|RUNNING|None" for task in (0, 1)]
    install(folder, squeue="\n".join([*lines, "harness-0057a9e0|N/A|4710|PENDING|Resources"]))
    return folder


def ended(tools):
    return [word for command in asked(tools) if command[0] == "scancel" for word in command[2:]]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def run(root, method="at", seed=0):
    (made,) = harness.plan(f"method={method}", f"seed={seed}", f"runs={root}")
    made.freeze()
    return made


@pytest.fixture
def working(root):
    """A function that starts a process that works on a run, on a host of this name; it is ended after the test."""
    begun = []

    def begin(on, host=HERE):
        process = subprocess.Popen([sys.executable, "-c", WORK, on.folder, host], stdout=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout and process.stdout.readline() == "working\n"
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def test_a_job_is_cancelled_and_others_are_left(root, tools):
    first, second = run(root, seed=0), run(root, seed=1)
    for task, one in enumerate((first, second)):
        submitted(one.folder, task=task)
    assert cancel([second.name], root, False) == [f"{second.name}: cancelled job 4711_1, which was RUNNING"]
    assert ended(tools) == ["4711_1"]


def test_all_cancels_every_job_and_the_stages_they_wait_for(root, tools):
    one = run(root)
    submitted(one.folder, task=0)
    stage = one.stage_runs[0].folder
    stage.mkdir(parents=True)
    submitted(stage, "harness-0057a9e0", 0)
    lines = cancel([], root, True)
    assert ended(tools) == ["4711_0", "4710"]
    assert lines[1] == f"stage {stage.name}: cancelled job 4710, as no other run needs it"


@pytest.mark.parametrize(("other", "kept"), [("atjem", True), ("generative", True), ("jem", False)])
def test_a_stage_that_another_run_in_the_queue_needs_is_kept(root, tools, other, kept):
    one, neighbour = run(root, "at"), run(root, other)
    submitted(one.folder, task=0)
    submitted(neighbour.folder, task=1)
    stage = one.stage_runs[0].folder
    stage.mkdir(parents=True)
    submitted(stage, "harness-0057a9e0", 0)
    cancel([one.name], root, False)
    assert ended(tools) == (["4711_0"] if kept else ["4711_0", "4710"])


def test_a_process_of_this_machine_is_stopped(root, working):
    one, other = run(root, seed=0), run(root, seed=1)
    process, bystander = working(one), working(other)
    (line,) = cancel([str(one.folder)], root, False)
    assert f"process {process.pid} has stopped" in line
    assert process.wait(5) < 0 and bystander.poll() is None


def test_a_process_of_another_machine_is_left_and_named(root, working):
    one = run(root)
    process = working(one, host="elsewhere")
    (line,) = cancel([one.name], root, False)
    assert "on another machine, elsewhere" in line and process.poll() is None


def test_a_number_that_passed_on_to_another_process_is_not_killed(root, working):
    one, other = run(root, seed=0), run(root, seed=1)
    stranger = working(other)
    process = working(one)
    progress = json.loads((one.folder / "progress.json").read_text())
    (one.folder / "progress.json").write_text(json.dumps({**progress, "pid": stranger.pid}))
    (line,) = cancel([one.name], root, False)
    assert "not by process" in line
    assert stranger.poll() is None and process.poll() is None


def test_what_nobody_works_on_is_said_to_be_so(root):
    one = run(root)
    assert cancel([one.name], root, False) == [f"{one.name}: it is queued: no job and no process works on it"]


def test_without_names_it_says_what_to_type_and_does_nothing(root, tools, working):
    one, other = run(root, seed=0), run(root, seed=1)
    submitted(one.folder, task=0)
    process = working(other)
    with pytest.raises(UserError, match="all=true") as error:
        cancel([], root, False)
    assert one.name in str(error.value) and other.name in str(error.value)
    assert not ended(tools) and process.poll() is None
    with pytest.raises(UserError, match="not both"):
        cancel([one.name], root, True)


def test_the_command_says_what_it_did(root, tools):
    one = run(root)
    submitted(one.folder, task=0)
    command = [sys.executable, "-m", "harness", "cancel", one.name]
    done = subprocess.run(command, cwd=root.parent, text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, f"{one.name}: cancelled job 4711_0, which was RUNNING\n"), done.stderr
