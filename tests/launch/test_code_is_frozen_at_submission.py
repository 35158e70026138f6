"""An edit after submission does not change waiting jobs: neither their code nor its recorded origin."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import bare
from commandline import harness as typed
from fake_slurm import FakeSlurm

from harness.launch.snapshot import environment, snapshot
from harness.runs import folder as run_folder
from harness.runs import record
from harness.runs.origin import NOTE


@pytest.fixture
def code(tmp_path):
    """A copy of the code that a test can edit and use as if it were installed."""
    copy = tmp_path / "installed"
    shutil.copytree(snapshot(tmp_path / "scratch"), copy)
    (copy / NOTE).write_text(json.dumps({"commit": "c0ffee", "diff": "+ a line that is not committed"}))
    return copy


def edit(code):
    """Break the method, its yaml and the note of the commit."""
    method = code / "harness" / "methods" / "standard.py"
    method.write_text(method.read_text() + "\nraise RuntimeError('edited after submission')\n")
    (code / "harness" / "configs" / "method" / "standard.yaml").write_text("edited: true\n")
    (code / NOTE).write_text(json.dumps({"commit": "edited", "diff": ""}))


def harness(code, *arguments, folder, path=None):
    command = [sys.executable, "-m", "harness", *arguments]
    variables = {**os.environ, **environment(code), "PATH": path or os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [path.parent for path in sorted(folder.glob("runs/*/config.yaml"))]


def result(folder):
    return record.read(folder / "record.json").result()


def test_a_job_runs_the_code_it_was_submitted_with(code, tmp_path):
    fake = FakeSlurm(tmp_path / "slurm", tmp_path / "there" / "runs")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (here,) = harness(code, *bare("standard", 4), folder=tmp_path / "here")
    arguments = [*bare("standard", 4), "launcher=slurm"]
    (there,) = harness(code, *arguments, folder=tmp_path / "there", path=fake.path)
    assert run_folder.state(there) == "queued"
    edit(code)
    script = next((tmp_path / "slurm" / "scripts").iterdir())
    variables = {**os.environ, **environment(code), "PATH": fake.path}
    job = subprocess.run(["bash", script], cwd=code, env=variables, capture_output=True, text=True)  # in a checkout
    assert job.returncode == 0, job.stdout + job.stderr
    assert result(there) == result(here)
    origin = record.read(there / "record.json").origin
    assert (origin.commit, origin.dirty) == ("c0ffee", True)
    assert (there / "uncommitted.diff").read_text() == "+ a line that is not committed\n"


def test_one_copy_serves_all_that_submit_the_same_code(tmp_path):
    first = snapshot(tmp_path)
    stamp = (first / "harness" / "launch" / "launchers.py").stat().st_mtime_ns
    assert snapshot(tmp_path) == first and (first / "harness" / "launch" / "launchers.py").stat().st_mtime_ns == stamp
    assert [path.name for path in (tmp_path / "code").iterdir()] == [first.name]
    assert not list(first.rglob("__pycache__"))
    for part in ("methods/at.py", "datasets/digits.py", "datasets/outliers/fields.py", "configs/config.yaml"):
        assert (first / "harness" / part).is_file(), part


def test_a_copy_imports_without_the_checkout(tmp_path):
    code = "import harness, harness.methods.at, harness.datasets.digits, harness.reports; print(harness.__path__[0])"
    copy = snapshot(tmp_path)
    checkout = Path(__file__).parents[2]
    variables = {**os.environ, **environment(copy)}
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, env=variables, capture_output=True, text=True)
    assert done.stdout.strip() == str(copy / "harness"), done.stderr


def test_processes_run_a_copy_too(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    status, out, err = typed("-m", *bare("standard", 4), "launcher=processes", folder=tmp_path)
    assert status == 0, out + err
    (copy,) = tmp_path.glob("runs/code/*")
    assert (copy / "harness" / "__pycache__").is_dir()  # written by the processes that imported it
