"""cancel signals the process of a sound note alone: a bad one is named, and the other runs are still cancelled."""

import json
import os
import socket

import pytest
from recorded import make
from slurm_of_paper import asked, install, submitted

from harness.launch.cancel import cancel
from harness.runs import folder as run_folder
from harness.runs.folder import Fault


@pytest.mark.parametrize("pid", ["x", -1, 0, True, 1.5, 10**30, None, [1]])
def test_no_process_is_signalled_for_an_odd_pid_and_the_other_run_is_cancelled(tmp_path, monkeypatch, pid):
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    install(tmp_path / "tools", squeue="harness-0000beef|3|4711_3|RUNNING|None")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("signalled"))
    bad, good = (make(tmp_path, seed) for seed in range(2))
    for run in (bad, good):
        run.freeze()
    submitted(good.folder)
    note = {"host": socket.gethostname(), "pid": pid}
    (bad.folder / "progress.json").write_text(json.dumps(note))
    with run_folder.lock(bad.folder):
        first, second = cancel([bad.name, good.name], tmp_path / "runs", False)
    assert first == f"{good.name}: cancelled job 4711_3, which was RUNNING"
    assert isinstance(second, Fault) and second.name == bad.name and second.reason.startswith("progress.json: pid: ")
    assert ["scancel", "--quiet", "4711_3"] in [list(command) for command in asked(tmp_path / "tools")]


def test_a_named_run_with_a_bad_record_or_lock_does_not_keep_another_from_being_cancelled(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    install(tmp_path / "tools", squeue="harness-0000beef|3|4711_3|RUNNING|None")
    runs = [make(tmp_path, seed) for seed in range(3)]
    for run in runs:
        run.freeze()
    (runs[0].folder / "record.json").write_text("[")
    (runs[1].folder / "lock").mkdir()
    submitted(runs[2].folder)
    lines = cancel([run.name for run in runs], tmp_path / "runs", False)
    assert f"{runs[2].name}: cancelled job 4711_3, which was RUNNING" in lines
    assert {line.name: line.reason.partition(":")[0] for line in lines if isinstance(line, Fault)} == {
        runs[0].name: "record.json",
        runs[1].name: "lock",
    }


def test_a_run_whose_config_cannot_be_read_may_need_a_stage_so_its_job_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:{os.environ['PATH']}")
    queue = "\n".join(f"harness-0000beef|{n}|4711_{n}|RUNNING|None" for n in (3, 4, 5))
    install(tmp_path / "tools", squeue=queue)
    runs = [make(tmp_path, 0), make(tmp_path, 0, model={"name": "digits", "width": 9})]
    for task, run in enumerate(runs, start=3):
        run.freeze()
        submitted(run.folder, task=task)
    stage = tmp_path / "runs" / "stages" / "robust-digits-s0-00000000"
    stage.mkdir(parents=True)
    submitted(stage, task=5)
    (runs[1].folder / "config.yaml").write_text("[" * 1000)
    assert [str(line) for line in cancel([runs[0].name], tmp_path / "runs", False)] == [
        f"{runs[0].name}: cancelled job 4711_3, which was RUNNING"
    ]
