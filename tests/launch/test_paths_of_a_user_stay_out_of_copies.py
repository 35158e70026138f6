"""configs/local, where a user's addresses stand, is in no copy of the code; jobs do without it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from commandline import bare
from fake_slurm import FakeSlurm

from harness.launch.snapshot import environment, snapshot
from harness.runs import folder as run_folder
from harness.runs.origin import NOTE
from harness.runs.run import load


def test_a_job_has_what_local_says_by_its_frozen_config(tmp_path: Path) -> None:
    # An installation with a file of the user's own.
    code = tmp_path / "installed"
    shutil.copytree(snapshot(tmp_path / "scratch"), code)
    (code / NOTE).write_text(json.dumps({"commit": "c0ffee", "diff": ""}))
    local = code / "harness" / "configs" / "local"
    local.mkdir(exist_ok=True)
    (local / "default.yaml").write_text("# @package _global_\nmicrobatch: 7\nextractors: {inception: secret.pth}\n")
    (local / "launcher").mkdir(exist_ok=True)
    (local / "launcher" / "ours.yaml").write_text("# Ours.\ndefaults: [slurm, _self_]\naccount: lab7\n")

    # What is submitted has its values, and its copy of the code has neither the folder nor the address.
    fake = FakeSlurm(tmp_path / "slurm", tmp_path / "there" / "runs")
    (tmp_path / "there").mkdir()
    variables = {**os.environ, **environment(code), "PATH": fake.path}
    command = [sys.executable, "-m", "harness", *bare("standard", 4), "launcher=ours"]
    done = subprocess.run(command, cwd=tmp_path / "there", env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = [path.parent for path in (tmp_path / "there").glob("runs/*/config.yaml")]
    assert load(folder).config.microbatch == 7
    (copy,) = (tmp_path / "there" / "runs" / "code").iterdir()
    assert not (copy / "harness" / "configs" / "local").exists() and (copy / "harness" / "configs" / "data").is_dir()
    assert not any(b"secret.pth" in path.read_bytes() for path in copy.rglob("*") if path.is_file())

    # The job runs, whatever becomes of the file.
    shutil.rmtree(local)
    script = next((tmp_path / "slurm" / "scripts").iterdir())
    assert "#SBATCH --account=lab7\n" in script.read_text()
    job = subprocess.run(["bash", script], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert job.returncode == 0 and run_folder.state(folder) == "done", job.stdout + job.stderr
