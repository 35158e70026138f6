"""--help names every verb and all arguments of each verb; it needs neither Hydra nor torch, and does nothing."""

import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest

from harness.cli.main import verbs

MODULES = {verb: import_module(f"harness.cli.{verb}") for verb in verbs()}


def told(*arguments, folder):
    done = subprocess.run([sys.executable, "-m", "harness", *arguments], cwd=folder, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "") and list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_all_verbs_and_choices_are_named(flag, tmp_path):
    text = told(flag, folder=tmp_path)
    for verb, module in MODULES.items():
        assert f"  {verb} " in text and module.__doc__.splitlines()[0] in " ".join(text.split())
    for choice in ("method: ", "atjem", "data: ", "imagenet256", "launcher: ", "slurm"):
        assert choice in text


@pytest.mark.parametrize("verb", MODULES)
def test_a_verb_tells_what_it_takes(verb, type_):
    status, text, _ = type_(verb, "--help")
    assert status == 0
    own = getattr(MODULES[verb], "Arguments", None)
    for field in fields(own) if own else ():
        assert f" {field.name}=" in text
    for word in getattr(MODULES[verb], "WORDS", ()):
        assert word in text


def test_it_imports_no_hydra():
    code = (
        "import sys, harness.cli.main as m; sys.argv[1:] = ['plan', '-h']\ntry: m.main()\nfinally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    modules = done.stdout.splitlines()[-1].split()
    assert "harness.cli.main" in modules and not {"hydra", "torch", "harness.cli.plan"} & {*modules}


def test_the_version_is_told_with_the_commit(type_):
    status, text, _ = type_("--version")
    assert status == 0 and re.match(r"harness \d+\.\d+\.\d+", text) and "commit" in text


def test_a_verb_is_one_file(type_, tmp_path, monkeypatch):
    (tmp_path / "greet.py").write_text(
        '"""Greet a folder of runs."""\n\n\ndef run(request): print(f"hello {request.config.runs}")\n'
    )
    package = sys.modules["harness.cli"]
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    assert type_("greet", "runs=here") == (0, "hello here\n", "")
    assert "greet       Greet a folder of runs." in type_("--help")[1]
    assert type_("greet", "--help")[1].startswith("python -m harness greet [key=value …]")
    sys.modules.pop("harness.cli.greet")


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_on_a_terminal_the_general_help_breaks_no_word(type_, monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    whole = type_("--help")[1]
    monkeypatch.setenv("COLUMNS", str(columns))
    wrapped = type_("--help")[1]
    assert max(map(len, wrapped.splitlines())) <= columns < max(map(len, whole.splitlines()))
    assert wrapped.split() == whole.split()
