"""--help names every command, and of each command all that it takes; it needs no Hydra, and does nothing."""

import subprocess
import sys
from dataclasses import fields

import pytest

from harness.cli.main import VERBS


def told(*arguments, folder):
    done = subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=folder, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "") and list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_all_commands_and_choices_are_named(flag, tmp_path):
    text = told(flag, folder=tmp_path)
    for verb in VERBS:
        assert verb == "run" or f"python -m harness {verb} " in text
    for choice in ("method: ", "atjem", "data: ", "imagenet256", "launcher: ", "slurm"):
        assert choice in text


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "run"])
def test_a_command_tells_what_it_takes(verb, tmp_path):
    text = told(verb, "--help", folder=tmp_path)
    for field in fields(VERBS[verb].own) if VERBS[verb].own else ():
        assert f" {field.name}=" in text
    for word in VERBS[verb].words:
        assert word in text


def test_it_imports_no_hydra():
    code = "import sys, harness.cli.main as m; sys.argv.append('-h')\ntry: m.main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "harness.cli.help" in modules and "hydra" not in modules and "torch" not in modules
