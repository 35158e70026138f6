"""Runs in separate processes give the records of runs in this process; a shared stage is trained once, first."""

from contextlib import nullcontext
from unittest.mock import Mock

import pytest
from commandline import bare, harness

import harness as api
from harness.core.errors import Diverged
from harness.launch.jobs import RunJob, StageJob, jobs
from harness.runs import record


def test_processes_and_local_agree(tmp_path):
    records = {}
    for launcher in ("local", "processes"):
        folder = tmp_path / launcher
        folder.mkdir()
        overrides = [*bare("atjem", steps=12, keep=("fidelity",)), "method.sampler.steps=3,4", f"launcher={launcher}"]
        status, out, err = harness("-m", *overrides, folder=folder)
        assert status == 0, out + err
        found = [record.read(path) for path in folder.glob("runs/*/record.json")]
        records[launcher] = sorted((one.result() for one in found), key=lambda one: str(one["fingerprint"]))
        assert len(list(folder.glob("runs/stages/*"))) == 2
    assert len(records["local"]) == 2
    assert records["local"] == records["processes"]


def test_shared_stages_come_first_and_once(tmp_path):
    runs = api.plan("method=at,atjem,generative,jem", f"runs={tmp_path}")
    at, *rest = jobs(runs, None)
    assert isinstance(at.work, StageJob) and at.after == []
    assert [job.work for job in rest] == [RunJob(str(run.folder), None) for run in runs]
    robust = runs[0].stage_runs[0].fingerprint
    assert [[training.fingerprint for training in job.after] for job in rest] == [[robust], [robust], [robust], []]


def test_a_stage_waits_for_the_stage_before_it(tmp_path):
    first, second, *rest = jobs(api.plan("method.sampler.steps=3,4", f"runs={tmp_path}"), None)
    assert (first.work.index, second.work.index) == (0, 1)
    assert [training.name for training in second.after] == ["robust"]
    assert all([training.name for training in job.after] == ["robust", "joint"] for job in rest)
    assert first.ready and not second.ready


def test_a_stage_that_diverges_is_no_fault_of_its_job_but_another_error_is(tmp_path, monkeypatch):
    (run,) = api.plan("method=at", f"runs={tmp_path}")
    run.freeze()
    job = StageJob(str(run.folder), 0)
    for error in (Diverged("stage robust: loss is nan"), MemoryError("none left")):
        monkeypatch.setattr("harness.launch.jobs.train_alone", Mock(side_effect=error))
        with nullcontext() if isinstance(error, Diverged) else pytest.raises(MemoryError):
            job()
