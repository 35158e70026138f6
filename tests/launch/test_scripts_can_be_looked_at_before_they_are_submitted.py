"""launcher.dry=true prints the scripts that the same command submits; it needs no SLURM and no data, writes nothing."""

import re

import pytest
from fake_slurm import FakeSlurm

import harness
from harness.launch.launchers import launcher
from harness.launch.show import Show
from harness.launch.slurm import scripts

SWEEP = ("-m", "method=at,atjem", "data=digits", "seed=0,1", "launcher=slurm", "launcher.memory_gb=16")


def told(script):
    """A script without the keys of its array and of the copied code, and the ids of the jobs that it waits for."""
    return re.sub(r"(?<=afterany:)\S+|(?<=harness-)\w+|(?<=/jobs/)\w+|(?<=/code/)\w+", "KEY", script)


def test_they_are_printed_where_there_is_no_slurm_and_no_data(type_, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    status, out, err = type_("-m", "method=atjem,at", "data=cifar10", "launcher=slurm", "launcher.dry=true")
    assert status == 0, err
    assert out.count("#!/bin/bash") == 2, "a shared stage and the array of both runs"
    assert "--dependency=afterany:ID_OF_robust-cifar10-s0-" in out and "--array=0-1%" in out
    assert list(tmp_path.iterdir()) == []


def test_they_are_those_that_are_submitted(type_, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    fake = FakeSlurm(tmp_path / "slurm", tmp_path / "runs")
    monkeypatch.setenv("PATH", fake.path)
    runs = harness.plan(*SWEEP[1:], f"runs={tmp_path / 'runs'}")
    printed = list(scripts(runs))
    assert not (tmp_path / "runs").exists()
    launcher(runs[0].config).run(runs, None, Show())
    submitted = [path.read_text() for path in sorted((tmp_path / "slurm" / "scripts").glob("*.sh"))]
    assert len(submitted) == len(printed) == 3, "each seed's shared stage, and the runs of both seeds"
    assert all("--mem=16GB" in script for script in submitted)
    assert sorted(map(told, submitted)) == sorted(told(script.partition("\n")[2]) for script in printed)


def test_nothing_that_launches_submits_them(tmp_path, monkeypatch):
    fake = FakeSlurm(tmp_path / "slurm", tmp_path / "runs")
    monkeypatch.setenv("PATH", fake.path)
    runs = harness.plan("method=at", "launcher=slurm", "launcher.dry=true", f"runs={tmp_path / 'runs'}")
    launcher(runs[0].config).run(runs, None, Show())
    assert fake.scripts == [] and not runs[0].folder.exists()


@pytest.mark.parametrize("word", ["launcher.dry=perhaps", "launcher=local launcher.dry=true"])
def test_what_it_cannot_be_is_refused(word, type_):
    status, _, _ = type_("method=at", *(["launcher=slurm"] if "local" not in word else []), *word.split())
    assert status == 2
