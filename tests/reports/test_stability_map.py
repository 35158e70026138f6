"""A study shows the fraction of runs that survive and a map of their outcomes, and never its runs as table rows."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from recorded import a_row, finish, make

from harness.evaluation.score import Score, Selection
from harness.reports import leaderboard, stability
from harness.reports.plots.maps import FATES, Map, maps
from harness.runs import record
from harness.runs.row import Row

GOLDEN = Path(__file__).parent / "golden" / "STABILITY.md"


def accuracy(value: float) -> dict[str, Score]:
    """The score that a study needs."""
    title, interval = "Clean accuracy", {"low": value - 1, "high": value + 1}
    return {"clean_accuracy": Score(title=title, value=value, n=360, unit="%", better="higher", **interval)}


def row(method: str, fate: float | str, rate: float = 1, step: float = 1, seed: int = 0, **fields: Any) -> Row:
    """A run of a study: done with an accuracy, or in another state."""
    over = not isinstance(fate, str)
    protocol = record.ProtocolTag(id="digits-stability-1", hash="HASH")
    told = {"protocol": protocol, "study": {"step": float(step), "rate": rate}}
    state = {"state": "done" if over else fate, "scores": accuracy(fate) if over else {}}
    return a_row(method, seed, **(told | state | fields))


@pytest.fixture
def rows() -> list[Row]:
    """Rows with every outcome: one method with a single seed and a missing cell, one changed, one not finished."""
    chosen = {"rate": Selection(by="accuracies, seed 0", split=["validation"])}
    notes = {"notes": {"budget": "35 epochs"}, "selection": chosen}
    fates = [(98.5, 97.5, 20.0), (99.0, 19.9, "diverged"), ("diverged", "diverged", 10.0), (96.0, 95.0, 94.0)]
    cells = zip(fates, [(1, 1), (3, 1), (1, 2), (3, 2)], strict=True)
    jem = [row("jem", f, *cell, seed, **notes) for found, cell in cells for seed, f in enumerate(found)]
    atjem = [row("atjem", 99.25, 1, 1), row("atjem", "diverged", 3, 1), row("atjem", 98.75, 3, 2)]
    changed = [row("atjem", 99.5, r, s, i, overrides="a=1|2") for r in (1, 3) for s in (1, 2) for i in range(3)]
    return [*jem, *atjem, *changed, row("sadajem", "failed"), row("sadajem", "running", seed=1)]


def section(rows: list[Row], folder: Path) -> str:
    """The whole text about the only study of some runs."""
    (study,) = stability.studies(rows)
    notes = "\n".join(f"- {note}" for note in study.footnotes())
    figures = [f"![{text}]({path})" for text, path in study.figures(folder)]
    return "\n\n".join([f"## {study.heading}", study.legend, study.table().markdown(), notes, *figures]) + "\n"


def test_the_section_is_the_golden_one(rows: list[Row], tmp_path: Path):
    text = section(rows, tmp_path)
    new = tmp_path / "STABILITY.md"
    new.write_text(text, encoding="utf-8")
    assert new.read_text(encoding="utf-8") == GOLDEN.read_text(encoding="utf-8"), f"if intended: cp {new} {GOLDEN}"


def test_the_same_runs_in_any_order_give_the_same_bytes(rows: list[Row], tmp_path: Path):
    def made(folder: Path) -> tuple[str, list[bytes]]:
        text = section(rows, folder)
        return text, [path.read_bytes() for path in sorted(folder.rglob("*.png"))]

    before = made(tmp_path / "before")
    random.Random(0).shuffle(rows)
    assert made(tmp_path / "after") == before
    assert len(before[1]) == 1


def test_protocols_and_factors_are_not_mixed(rows: list[Row], tmp_path: Path):
    stricter = row("jem", 50.0, protocol=record.ProtocolTag(id="digits-stability-1", hash="OTHER"))
    alone = row("jem", 50.0, study={"rate": 1.0})
    found = stability.studies([*rows, stricter, alone])
    assert [study.heading.partition("-1 ")[2] for study in found] == [
        "(hash HASH), by rate",
        "(hash HASH), by rate and step",
        "(hash OTHER), by rate and step",
    ]
    assert [len(list(study.figures(tmp_path))) for study in found] == [0, 1, 1], "a map needs two factors"


def test_a_method_that_was_tuned_on_the_test_split_stands_last_with_the_reason(rows: list[Row], tmp_path: Path):
    chosen = {"rate": Selection(by="clean accuracy", split=["test"])}
    best = [replace(run, selection=chosen) if run.overrides else run for run in rows]
    text = section(best, tmp_path)
    methods = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    assert methods == ["method", "AT-JEM (DAT)", "JEM", "SADA-JEM", "AT-JEM (DAT) (a=1\\"]
    assert "- AT-JEM (DAT) (a=1|2), rate: chosen by clean accuracy, on test: not ranked" in text


def test_what_must_be_said_of_a_protocol_ends_the_title(rows: list[Row], tmp_path: Path):
    labelled = record.ProtocolTag(id="digits-stability-1", hash="HASH", label="for trying out")
    text = section([replace(run, protocol=labelled) for run in rows], tmp_path / "labelled")
    assert text.split("\n")[0].endswith("(hash HASH), by rate and step: for trying out")
    section(rows, tmp_path / "plain")
    plain, labelled = (next((tmp_path / name).rglob("*.png")).read_bytes() for name in ("plain", "labelled"))
    assert plain != labelled


@pytest.mark.parametrize(("data", "least"), [("digits", "20 %"), ("cifar100", "2 %")])
def test_chance_is_the_datasets(data: str, least: str, tmp_path: Path):
    text = section([row("jem", 3.0, data=data)], tmp_path)
    assert f"below {least}" in text
    assert ("100.0 [20.7, 100.0]" in text) == (data == "cifar100")


def test_the_fates_are_told_apart_in_grey(tmp_path: Path):
    greys = {}
    for fate in FATES:
        maps(tmp_path / "map.png", [Map("m", {(1.0, 1.0): Counter({fate: 3})})], ["rate", "step"])
        pixels = imread(tmp_path / "map.png")[..., :3] @ [0.299, 0.587, 0.114]
        height, width = pixels.shape
        greys[fate] = float(np.median(pixels[height // 4 : height // 3, width // 3 : 2 * width // 3]))
    assert greys["sound"] - greys["collapsed"] > 0.15 and greys["collapsed"] - greys["diverged"] > 0.3, greys


def test_stripes_are_as_wide_as_fates_are_frequent_and_missing_cells_empty(tmp_path: Path):
    cells = {(1.0, 1.0): Counter(sound=1, diverged=2), (3.0, 2.0): Counter(diverged=3)}
    maps(tmp_path / "map.png", [Map("m", cells)], ["rate", "step"])
    dark = np.abs(imread(tmp_path / "map.png")[..., 0] - 0.2) < 0.02
    lengths = dark.sum(1)[: int(0.8 * len(dark))]  # one per line of pixels, without the legend
    edges = np.flatnonzero(lengths > 30)[[6, -6]]  # away from the texts
    one, two_thirds = lengths[edges]
    assert two_thirds / one == pytest.approx(2 / 3, abs=0.05)
    right, left = (np.flatnonzero(dark[edge]) for edge in edges)
    assert left.max() < right.min() + 4, "cells without a run must stay empty"


def test_runs_that_were_stopped_at_chance_count_as_collapsed_and_the_page_says_so(rows: list[Row], tmp_path: Path):
    stopped = [replace(run, state="collapsed", scores={}) if run.state == "diverged" else run for run in rows]
    before, after = (stability.studies(runs)[0] for runs in (rows, stopped))
    assert before.legend + stability.ENDED == after.legend
    for one, other in zip(before.arms, after.arms, strict=True):
        assert other.fates["collapsed"] == one.fates["collapsed"] + one.fates["diverged"]
        assert other.fates["sound"] == one.fates["sound"] and not other.fates["diverged"]


def test_a_studys_runs_are_rows_of_no_table(tmp_path: Path):
    study = {"study": {"step": 2.0, "rate": 1.0}}
    finish(make(tmp_path, 1, **study), accuracy(12.5), study=study["study"])
    finish(make(tmp_path, 2, **study), {}, state="diverged", study=study["study"])
    outside = finish(make(tmp_path), accuracy(77.5))
    table, study, _ = leaderboard.write(outside.config).page.read_text(encoding="utf-8").split("\n## ")[1:]
    assert "77.5" in table and "12.5" not in table and "1/1" in table
    assert study.startswith("Stability: digits") and "| AT " in study and "1/2" in study
    page = tmp_path / "reports" / study.rpartition("(")[2].rstrip(")\n")
    assert (page.parent / page.read_text(encoding="utf-8").rpartition("(")[2].rstrip(")\n")).exists()
