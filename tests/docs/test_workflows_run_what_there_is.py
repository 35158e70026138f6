"""The workflows call targets, verbs and folders that exist, with no more rights than they need."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from harness.cli.main import verbs

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted([*ROOT.glob(".github/workflows/*.yml"), *ROOT.glob("docs/examples/*.yml")])
TARGETS = re.findall(r"^([a-z-]+)(?=[ a-z-]*:)", (ROOT / "Makefile").read_text(), re.MULTILINE)


def steps(path):
    return [step for job in yaml.safe_load(path.read_text())["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_each_step_calls_what_there_is(path):
    assert steps(path)
    for step in steps(path):
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            continue
        words = shlex.split(step["run"])
        if words[0] == "make":
            assert set(words[1:]) <= set(TARGETS)
        elif "harness" in words:
            assert words[words.index("harness") + 1] in verbs()
            for word in words:
                assert not word.startswith("runs=") or (ROOT / word.removeprefix("runs=")).is_dir()
        else:
            assert words[:2] == ["pip", "install"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_rights_are_named_and_only_the_site_may_write(path):
    rights = yaml.safe_load(path.read_text())["permissions"]
    writes = {name for name, right in rights.items() if right == "write"}
    assert rights["contents"] == "read"
    assert writes == ({"pages", "id-token"} if path.name == "site.yml" else set())


def test_the_checks_include_the_pages_in_a_browser_which_the_tests_leave_out():
    typed = {step.get("run") for step in steps(ROOT / ".github/workflows/checks.yml")}
    assert {"make lint", "make test", "make browser"} <= typed
