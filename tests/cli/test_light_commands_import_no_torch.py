"""Commands that are typed often answer without importing torch or mlflow."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(arguments, tmp_path, heavy):
    """The heavy modules that a command imports, in a folder that has a run."""
    run = tmp_path / "runs" / "at-digits-s0-00000000"
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").touch()
    code = (
        "import sys; from harness.cli.main import main\n"
        f"sys.argv[1:] = {arguments.split()!r}\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', *sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True)
    assert "HEAVY" in done.stdout, done.stdout + done.stderr
    return done.stdout.partition("HEAVY")[2].split()


@pytest.mark.parametrize(
    "arguments", ["--help", "list", "--cfg job", "status", "cancel all=true", "logs at-digits-s0-00000000"]
)
def test_torch_and_mlflow_are_not_imported(arguments, tmp_path):
    assert imported(arguments, tmp_path, {"torch", "mlflow", "pandas"}) == []


def test_a_plan_imports_torch_and_nothing_as_heavy(tmp_path):
    heavy = {"torch", "mlflow", "pandas", "sklearn", "scipy.stats", "torchvision"}
    assert imported("plan method=atjem", tmp_path, heavy) == ["torch"]


def test_a_report_imports_torch_once_for_records_that_older_versions_made(tmp_path):
    """They do not say their FLOP, which are counted once; the records of today do."""
    old = sorted((ROOT / "docs" / "digits" / "records").glob("standard-digits-s0-*"))[0]
    shutil.copytree(old, tmp_path / "runs" / old.name)
    assert "training_flop" not in (old / "record.json").read_text()
    assert [imported("report", tmp_path, {"torch", "mlflow"}) for _ in range(2)] == [["torch"], []]


def test_the_core_imports_without_hydra_mlflow_and_submitit():
    code = (
        "import sys\n"
        "for name in ('hydra', 'omegaconf', 'mlflow', 'submitit', 'pydantic', 'torch_fidelity', 'pyautoattack'):\n"
        "    sys.modules[name] = None\n"
        "import harness.core.energy, harness.core.walk, harness.training.loop\n"
        "import harness.methods.atjem, harness.methods.jem\n"
        "import harness.methods.generative, harness.models.digits, harness.datasets.digits, harness.datasets.outliers\n"
        "print('IMPORTED')"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True)
    assert "IMPORTED" in done.stdout, done.stderr


def test_the_console_script_answers_from_any_folder(tmp_path):
    script = Path(sys.executable).parent / "harness"
    done = subprocess.run([script, "list"], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0 and "atjem" in done.stdout, done.stderr
