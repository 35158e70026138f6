"""A package of somebody else's with a method, a dataset, a net and a metric is listed, checked, swept and reported.

It is built as a wheel and installed in a folder of its own, and the commands are typed in another one.
"""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from harness.runs import record
from harness.runs.run import load

SOURCE = Path(__file__).parents[1] / "demonstration"

COMMANDS = """
import sys
from harness.cli.main import command
for words in sys.argv[1:]:
    print(">", words)
    assert command(words.split()) == 0, words
"""
"""Types several command lines in one process, which saves the seconds of starting each."""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder in which the wheel of the package is installed."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    wheel = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", folder, folder / "source"]
    subprocess.run(wheel, check=True)
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", built], check=True)
    return folder / "site"


def start(script, *words, site, folder):
    variables = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=folder, env=variables, text=True, capture_output=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def test_it_is_listed_checked_swept_and_reported(site, tmp_path):
    sweep = "-m method=smoothed data=stripes seed=0,1 launcher=processes tracking=off device=cpu"
    lines = ["list", "check method=smoothed data=stripes", sweep, "report"]
    status, told = start(COMMANDS, *lines, site=site, folder=tmp_path)
    assert status == 0, told
    listed, checked, _, _ = told.split("\n> ")[:4]
    for name in ("smoothed", "stripes", "perceptron", "margin"):
        assert any(
            line.startswith(f"  {name} ") and "(package ebm-stripes 0.1.0)" in line for line in listed.split("\n")
        )
    assert checked.count("  ok ") > 3 and "FAIL" not in checked
    page = (tmp_path / "reports" / "LEADERBOARD.md").read_text()
    assert "| Label smoothing " in page and "| Margin" in page and "| 2/2 " in page

    # The recipe of the package counts, and the record says which code made the numbers.
    (folder, _) = sorted(tmp_path.glob("runs/smoothed-stripes-s*"))
    assert load(folder).config.method["smooth"]["mass"] == 0.05
    done = record.read(folder / "record.json")
    modules = ("smoothing", "targets", "stripes", "perceptron", "margin")
    assert {f"ebm_stripes.{module}" for module in modules} <= set(done.code.parts)
    assert done.origin.packages["ebm-stripes"] == "0.1.0"

    # The processes ran a copy, with the package.
    (copy,) = tmp_path.glob("runs/code/*")
    assert (copy / "ebm_stripes" / "margin.py").is_file()
    (again,) = metadata.distributions(name="ebm-stripes", path=[str(copy)])
    assert {point.name for point in again.entry_points} == {"smoothed", "stripes", "perceptron", "margin"}
