"""Figures show the data in the run folders, with numbers as computed by hand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from recorded import a_row

from harness.evaluation.score import Score, Selection
from harness.reports import figures as drawn
from harness.reports.section import Section
from harness.runs.record import ProtocolTag
from harness.runs.row import Row

STEPS = {
    "sampler: number of steps": Selection(by="FID of 50 samples that are not reported: 10 of 5, 10", split=["train"])
}
PLAIN = {"robust_accuracy/l2_0.5": 60.0, "fid": 4.0, "ece": 2.0}


def score(value: float, **fields: Any) -> Score:
    return Score(
        **({"title": "T", "value": value, "n": 100, "better": "higher", "low": value - 9, "high": value + 8} | fields)
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Row]:
    """A function that makes the row of a run with some files: `metrics` is a .jsonl of lines, all others are JSON."""

    def make(method: str, seed: int, values: dict[str, float], **files: Any) -> Row:
        folder = tmp_path / f"{method}{seed}"
        folder.mkdir()
        for name, content in files.items():
            whole = "".join(json.dumps(line) + "\n" for line in content) if name == "metrics" else json.dumps(content)
            (folder / f"{name}.json{'l' if name == 'metrics' else ''}").write_text(whole)
        scores = {key: score(value) for key, value in values.items()}
        find = {path.name: path for path in folder.iterdir()}.get
        return a_row(method, seed, scores=scores, selection=STEPS if "selection" in files else {}, find=find)

    return make


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, tuple]]:
    """A function that returns what would be drawn for rows, by kind: the arguments after the path, then the caption."""

    def figures(rows: list[Row]) -> dict[str, tuple]:
        given: dict[Path, tuple] = {}
        for name in ("tradeoff", "lines", "reliability", "grids"):
            monkeypatch.setattr(drawn, name, lambda path, *arguments: given.update({path: arguments}))
        made = list(drawn.figures(Section(rows), tmp_path))
        return {path.name.partition("-")[0]: (*given[tmp_path / path], caption) for caption, path in made}

    return figures


def test_nothing_is_drawn_of_nothing(run, draw):
    assert draw([run("at", 0, {"clean_accuracy": 90}, metrics=[])]) == {}, "a net that was trained elsewhere has no log"
    assert (
        draw(
            [replace(run("jem", 0, {**PLAIN, "clean_accuracy": 9}, metrics=[{"images": 1, "a/ce": 1}]), state="failed")]
        )
        == {}
    )


def test_a_point_is_the_mean_over_seeds_with_its_sd_or_one_seeds_interval(run, draw):
    three = [run("at", seed, {**PLAIN, "fid": fid}) for seed, fid in enumerate((2.0, 4.0, 6.0))]
    one = run("jem", 0, {"robust_accuracy/l2_0.5": 50, "fid": 5})
    points, references, x, y, said, caption = draw([*three, one])["tradeoff"]
    assert [(p.label, p.x.mean, p.x.low, p.x.high, p.front) for p in points] == [
        ("AT", 4, 2, 6, True),
        ("JEM", 5, -4, 13, False),
    ]
    assert (points[0].y.low, points[1].y.high) == (60, 58)
    assert (x.title, y.title, references) == ("T", "T", [])
    assert "sd over seeds; for one seed, the 95 % interval" in said and said in caption
    assert draw(three)["tradeoff"][-2] == "bars: sd over seeds"
    assert draw([one])["tradeoff"][-2] == "bars: 95 % intervals"


def test_published_results_stand_beside_the_same_attack_and_distance_alone(run, draw, monkeypatch):
    monkeypatch.setattr(drawn.published, "points", lambda data, key: [(f"{data} {key}", 70.0, 9.0)])
    (reference,) = draw([run("at", 0, PLAIN)])["tradeoff"][1]
    assert (reference.label, reference.x, reference.y) == ("digits robust_accuracy/l2_0.5", 9, 70)
    assert draw([run("at", 1, {"robust_accuracy/l2_0.5": 60, "fd_dinov2": 4})])["tradeoff"][1] == []


def test_accuracy_is_shown_by_radius_a_panel_for_each_norm(run, draw):
    keys = {
        "clean_accuracy": 90,
        "robust_accuracy/l2_1": 30,
        "robust_accuracy/l2_0.5": 60,
        "robust_accuracy/linf_0.0313725": 20,
    }
    rows = [run("at", seed, {key: value + seed for key, value in keys.items()}) for seed in (0, 2)]
    (l2, linf), looks, _, _ = draw([*rows, run("jem", 0, {"clean_accuracy": 80})])["radius"]
    assert (l2.x, linf.x, list(l2.lines)) == ("L2 radius", "L∞ radius", ["AT"]), "JEM was not attacked"
    assert (l2.lines["AT"].x, l2.lines["AT"].mean) == ([0, 0.5, 1], [91, 61, 31])
    assert l2.lines["AT"].high[0] == pytest.approx(91 + 2**0.5)
    assert linf.lines["AT"].x == [0, 0.0313725]
    assert set(looks) == {"AT", "JEM"}


def test_the_steps_that_were_chosen_for_a_seed_are_filled(run, draw):
    first = {"steps": 10, "distances": {"5": 4.0, "10": 2.0, "20": 9.0}}
    second = {"steps": 5, "distances": {"5": 1.0, "10": 4.0, "30": 9.0}}
    rows = [run("at", 0, PLAIN, selection=first), run("at", 1, PLAIN, selection=second)]
    (panel,), _, _, caption = draw(rows)["steps"]
    line = panel.lines["AT"]
    assert (line.x, line.mean, line.filled) == ([5, 10], [2.5, 3], [True, True]), "only what every seed has tried"
    assert line.low[1] == pytest.approx(3 - 2**0.5)
    assert panel.y == "FID" and "FID of 50 samples that are not reported, against the train split" in caption
    (panel,), *_ = draw(rows[:1])["steps"]
    assert panel.lines["AT"].filled == [False, True, False]


def test_curves_are_means_over_seeds_as_far_as_all_of_them_got(run, draw):
    def log(*values: float) -> list[dict[str, float]]:
        stages = ["robust", "robust", "joint", "joint"]
        lines = [{"images": 60 * (i + 1), f"{stages[i]}/ce": value} for i, value in enumerate(values)]
        return [line | ({"joint/T": 5.0 * i} if i > 1 else {}) for i, line in enumerate(lines)]

    rows = [run("atjem", 0, PLAIN, metrics=log(1, 2, 3)), run("atjem", 1, PLAIN, metrics=log(3, 4, 5, 6))]
    rows.append(run("at", 0, PLAIN, metrics=[{"images": 60, "robust/ce": 1.0}]))
    (t, ce), _, said, caption = draw(rows)["training"]
    assert (t.y, ce.y) == ("T", "ce"), "the curriculum must come first, and stages in order"
    line = ce.lines["AT-JEM (DAT)"]
    assert list(line.mean) == [2, 3, 4] and line.high[0] == pytest.approx(2 + 2**0.5)
    assert list(line.x) == [58, 118, 178], "the middles of three of 60 intervals of 4 images"
    assert list(t.lines["AT-JEM (DAT)"].mean) == [10]
    assert "T is" in caption and "terms" not in said
    assert ce.dense and ce.log == ""


def test_bins_of_all_seeds_are_taken_together(run, draw):
    def bins(*pairs: tuple[int, int]) -> list[dict[str, float]]:
        return [{"low": i / 2, "high": (i + 1) / 2, "count": n, "right": r} for i, (n, r) in enumerate(pairs)]

    rows = [
        run("at", 0, PLAIN, reliability=bins((0, 0), (5, 4))),
        run("at", 1, PLAIN, reliability=bins((2, 1), (3, 3))),
    ]
    ((diagram,), _, _) = draw(rows)["reliability"]
    assert [(b.low, b.high, b.count, b.right) for b in diagram.bins] == [(0, 0.5, 2, 1), (0.5, 1, 8, 7)]
    assert (diagram.label, diagram.note) == ("AT", "ECE 2.0 %")


def test_the_figure_says_of_how_many_series_it_shows_the_first(run, draw):
    rows = [run(f"m{i:02}", 0, {**PLAIN, "clean_accuracy": 90, "robust_accuracy/l2_0.5": 90 - i}) for i in range(14)]
    points, *_, said, _ = draw(rows)["tradeoff"]
    assert [point.label for point in points] == [f"m{i:02}" for i in range(12)] and "the first 12 of 14 series" in said
    (panel,), _, said, _ = draw(rows)["radius"]
    assert len(panel.lines) == 12 and "the first 12 of 14 series" in said
    assert "the first" not in draw(rows[:12])["tradeoff"][-2]


def test_series_of_one_label_are_told_apart_by_net_and_what_must_be_said_is_said(run, draw):
    told = {"protocol": ProtocolTag(id="quick-1", hash="HASH", label="for trying out")}
    nets = [replace(run("at", i, PLAIN), series=f"s{i}", model=net, **told) for i, net in enumerate("aabc")]
    points, *_, said, _ = draw(nets)["tradeoff"]
    assert [point.label for point in points] == ["AT, a, s0", "AT, a, s1", "AT, b", "AT, c"]
    assert len({point.look for point in points}) == 4 and said.startswith("for trying out; ")
