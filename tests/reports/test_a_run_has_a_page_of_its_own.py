"""The page of a run shows everything that is known about it, and escapes all text."""

import json
import time
from html import unescape
from pathlib import Path
from re import sub
from typing import Any

import pytest
import yaml
from pages import CONFIG, row, scores

from harness.evaluation.score import Selection
from harness.reports.recipe import changes
from harness.reports.runpage import pages
from harness.reports.sparklines import POINTS, charts
from harness.runs.compose import compose
from harness.runs.record import ProtocolTag

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def words(text: str) -> str:
    """The text of a page without its markup."""
    body = text.partition("<body>")[2].partition("<script>")[0]
    return " ".join(unescape(sub(r"<[^>]+>", " ", body)).split())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of three runs, by method and seed: done, done with a warning, and failed."""
    folder = tmp_path_factory.mktemp("pages")
    tuned = {"learning rate": Selection(by="FD", split=["validation"])}
    quick = ProtocolTag(id="quick-1", hash="45", label="for trying out")
    doubt = scores(81, 2.5, warnings=["few restarts"])
    lost: dict[str, Any] = {"state": "failed", "scores": {}, "cost": None, "origin": None}
    runs = [
        row(folder, seed=0, selection=tuned, notes={"loss": "no BCE"}),
        row(folder, seed=1, scores=doubt, protocol=quick, overrides="method.joint.bce=0.25", study={"rate": 3.0}),
        row(folder, "jem", texts={"failure.md": "out of memory"}, **lost),
    ]
    with pages(folder / "pages", runs, begun=time.time_ns()):
        pass
    return {f"{run.method}{run.seed}": (folder / "pages" / f"{run.name}.html").read_text() for run in runs}


def test_scores_stand_with_their_intervals_counts_and_doubts(shown: dict[str, str]) -> None:
    text = words(shown["atjem1"])
    assert "Robust accuracy ↑ † few restarts 81 % † 76 to 86 360" in text
    assert "FD ↓ 2.5 – 1,000" in text and "AUROC ↑ 77.5 % – 200" in text
    assert "few restarts" not in shown["atjem0"]


def test_what_must_be_said_of_a_protocol_stands_by_its_numbers(shown: dict[str, str]) -> None:
    text = words(shown["atjem1"])
    assert "Protocol quick-1: for trying out" in text and "Scores: for trying out" in text
    assert text.count("under protocol quick-1: for trying out") == 2, "it must stand above each table"
    assert "trying out" not in shown["atjem0"]


def test_cost_origin_selection_deviations_canaries_and_study_are_told(shown: dict[str, str]) -> None:
    text = words(shown["atjem0"])
    for told in (
        "Training 1.5 min Evaluation 2.0 h Peak memory 512 MB",
        "joint 1.5 min 1,234 9,876 110 512 0",
        "0123abcd , with uncommitted changes",
        "learning rate: FD, on validation",
        "loss: no BCE",
        "accuracy, untrained 4.25",
        "75,434 parameters",
    ):
        assert told in text
    assert "Study: rate 3" in words(shown["atjem1"])


def test_the_config_is_told_against_the_recipe(shown: dict[str, str]) -> None:
    text = words(shown["atjem1"])
    assert "Overrides: method.joint.bce=0.25" in text and "method.joint.bce 1.0 0.25" in text
    assert words(CONFIG) in text, "the whole config must be there"


def test_a_frozen_recipe_differs_from_itself_in_nothing() -> None:
    (config,) = compose(["method=atjem", "data=digits"])
    assert changes(yaml.safe_dump(config.mapping()).encode()) == []
    config.method["joint"]["contrast"]["curriculum"] = None
    assert [(one.key, one.recipe, one.here) for one in changes(yaml.safe_dump(config.mapping()).encode()) or []] == [
        ("method.joint.contrast.curriculum", "–", "null"),
        ("method.joint.contrast.curriculum.auc", "0.7", "–"),
        ("method.joint.contrast.curriculum.start", "0", "–"),
        ("method.joint.contrast.curriculum.images", "1000", "–"),
    ]
    config.method["name"] = "of_another_harness"
    assert changes(yaml.safe_dump(config.mapping()).encode()) is None
    for damaged in (b"damaged: [", b"damaged"):
        with pytest.raises(ValueError, match="it is no"):
            changes(damaged)


def test_curves_are_drawn_from_end_to_end_without_numbers_that_are_none_and_damaged_ones_are_refused() -> None:
    lines = [{"images": step, "a": float(step)} for step in range(1, 1001)]
    (chart,) = charts("".join(f"{json.dumps(line)}\n" for line in lines).encode() + b'{"images": 10')
    assert (chart.low, chart.first) == ("1", "1") and 980 < float(chart.high) <= 1000
    points = [tuple(map(float, point.split(","))) for point in chart.points.split()]
    assert POINTS / 2 < len(points) < 2 * POINTS
    assert points[0] == (0, 90) and points[-1] == (240, 0) and points == sorted(points)
    assert charts(b"") == []
    (chart,) = charts(b'{"images": 1, "a": 2.0}\n{"images": 2, "a": NaN}\n')
    assert (chart.points, chart.high) == ("0.0,0.0", "2")
    with pytest.raises(ValueError, match="it is no JSON"):
        charts(b'{"images": 1, "a": 2.0}\n{"im{"a": 7}\n')


def test_a_run_that_failed_says_how_and_the_other_seeds_are_linked(shown: dict[str, str]) -> None:
    assert "out of memory" in words(shown["jem0"]) and "Scores" not in words(shown["jem0"])
    assert 'href="atjem-digits-s1-f.html"' in shown["atjem0"] and 'href="atjem-digits-s1-f.html"' not in shown["jem0"]


def test_no_text_of_a_run_becomes_markup(tmp_path: Path) -> None:
    files = {"failure.md": NASTY}
    files |= {
        "config.yaml": f"{CONFIG}noise: {json.dumps(NASTY)}\n",
        "metrics.jsonl": json.dumps({"images": 1, NASTY: 2.0}) + "\n",
    }
    doubt = scores(81, 2.5, warnings=[NASTY], table=NASTY)
    told = {"overrides": NASTY, "reason": NASTY, "model": NASTY, "notes": {NASTY: NASTY}, "canaries": {NASTY: 1.0}}
    nasty = row(tmp_path, texts=files, scores=doubt, **told)
    with pages(tmp_path / "pages", [nasty]):
        pass
    text = (tmp_path / "pages" / f"{nasty.name}.html").read_text()
    assert text.count("<script") == 1 and text.count("<img") == 1
    assert words(text).count("alert(1)") >= 7


def test_the_same_run_gives_the_same_bytes_and_is_not_written_twice(tmp_path: Path) -> None:
    run = row(tmp_path)
    with pages(tmp_path / "pages", [run]):
        pass
    (page,) = (tmp_path / "pages").iterdir()
    before = page.stat().st_ino, page.read_bytes()
    with pages(tmp_path / "pages", [run]):
        pass
    assert (page.stat().st_ino, page.read_bytes()) == before
