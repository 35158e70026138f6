"""The demo's last line says which scores lie outside of the range that docs/digits/cpus.md documents."""

import importlib.util

import pandas as pd
from documents import ROOT
from recorded import finish, make, robust

spec = importlib.util.spec_from_file_location("demo_range", ROOT / "benchmarks" / "demo_range.py")
demo_range = importlib.util.module_from_spec(spec)
spec.loader.exec_module(demo_range)


def test_the_range_covers_the_committed_table():
    limits = pd.read_csv(demo_range.RANGE)
    assert set(limits.method) == {"atjem", "at", "generative", "jem"} and (limits.low < limits.high).all()
    page = (ROOT / "docs" / "digits" / "cpus.md").read_text()
    assert page.count("\n| atjem") == int((limits.method == "atjem").sum())


def test_scores_inside_and_outside_are_told(tmp_path):
    finish(make(tmp_path), robust(80.0))
    assert demo_range.verdict(tmp_path / "runs") == "All 1 scores lie in the documented range (docs/digits/cpus.md)."
    finish(make(tmp_path, seed=1), robust(12.0))
    told = demo_range.verdict(tmp_path / "runs")
    assert told.startswith("1 of 2 scores are outside of the documented range: at's Robust accuracy is 12, not in ")
