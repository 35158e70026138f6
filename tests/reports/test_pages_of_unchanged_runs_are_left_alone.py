"""A report writes the page of a run again if anything that it shows has changed, and leaves the others as they are."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from recorded import ATJEM, finish, make, robust, scores

from harness.core import cache
from harness.core.files import write_text
from harness.core.registry import names
from harness.reports import leaderboard, runpage
from harness.reports import recipe as recipes
from harness.reports.workers import beside
from harness.runs.compose import compose


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with two runs of AT and one of AT-JEM, whose files are all taken as old."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runpage, "SETTLED", -3600)
    for seed in range(2):
        finish(make(tmp_path, seed), scores(50 + seed, 20, 2))
    finish(make(tmp_path, method=ATJEM), scores(70, 3, 1))
    return tmp_path


@pytest.fixture
def written(place, monkeypatch):
    """A function that writes a report, and returns how many series had their pages written."""
    counts: list[int] = []

    @contextmanager
    def counted(work, count):
        counts.append(count)
        with beside(work, count) as results:
            yield results

    monkeypatch.setattr(runpage, "beside", counted)

    def report() -> int:
        leaderboard.write(replace(make(place).config, reports=str(place / "reports")))
        return counts[-1]

    assert report() == 2
    assert report() == 0
    return report


def page(place, run):
    return place / "reports" / "runs" / f"{run.name}.html"


CHANGES = {
    "12.31": lambda run: finish(run, robust(12.31)),
    "12.32": lambda run: write_text(run.folder / "config.yaml", f"{run.frozen}# 12.32\n"),
    "12.33": lambda run: write_text(run.folder / "metrics.jsonl", '{"images": 1, "robust/12.33": 1}\n' * 3),
    "12.34": lambda run: write_text(run.folder / "failure.md", "12.34"),
}
"""Changes of a run's files, by what its page then shows: its record, its config, its log, and how it failed."""


def test_each_change_is_shown(place, written):
    run = make(place, method=ATJEM)
    for shown, change in CHANGES.items():
        assert shown not in page(place, run).read_text()
        change(run)
        assert written() == 1 and shown in page(place, run).read_text()
    assert written() == 0


def test_a_page_that_is_not_as_it_was_made_is_made_again(place, written):
    path = page(place, make(place, method=ATJEM))
    made = path.read_text()
    path.write_text("edited")
    assert written() == 1 and path.read_text() == made
    path.unlink()
    assert written() == 1 and path.read_text() == made


def test_a_file_that_is_written_in_place_is_shown(place, written):
    run = make(place, method=ATJEM)
    text = (run.folder / "record.json").read_text()
    (run.folder / "record.json").write_text(text.replace("70.0", "71.0"))
    assert written() == 1 and "71" in page(place, run).read_text()


def test_another_seed_is_linked_from_its_siblings(place, written):
    new = finish(make(place, 2), scores(52, 20, 2))
    assert written() == 1
    assert all(f"{new.name}.html" in page(place, make(place, seed)).read_text() for seed in range(2))


def test_what_was_learned_elsewhere_is_shown(place, written, monkeypatch):
    """As of a stage that was trained again: the folder of the run is the same, and its row is not."""
    rows_of = leaderboard.find_rows
    monkeypatch.setattr(leaderboard, "find_rows", lambda *given: doubted(*rows_of(*given)))
    assert written() == 2 and "trained again" in page(place, make(place)).read_text()


def doubted(rows, faults):
    return [replace(row, doubts=["its stage was trained again since"]) for row in rows], faults


def test_other_code_writes_all_again(written, monkeypatch):
    monkeypatch.setattr(cache, "code", lambda: "other")
    assert written() == 2


def test_another_recipe_writes_all_again(written, monkeypatch):
    monkeypatch.setattr(runpage, "recipe", lambda method, data: {"method.robust.attack.steps": 3})
    assert written() == 2


def test_recipes_are_composed_once_for_all_reports(written, monkeypatch):
    monkeypatch.setattr(recipes, "_recipes", {})
    monkeypatch.setattr(recipes, "compose", lambda words: pytest.fail(f"composed again: {words}"))
    assert written() == 0


def test_a_kept_recipe_is_the_composed_one(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "code", lambda: "this")
    for data in ("digits", "cifar10"):
        methods = sorted({file.removesuffix(f"_{data}") for file in names("recipe") if file.endswith(f"_{data}")})
        composed = {method: recipes._fields(compose([f"method={method}", f"data={data}"])[0]) for method in methods[:6]}
        for _ in range(2):  # composed, then kept
            monkeypatch.setattr(recipes, "_recipes", {})
            recipes.learn([(method, data) for method in composed])
            assert {method: recipes.recipe(method, data) for method in composed} == composed
        assert len([*tmp_path.glob("*/recipes/*.json")]) == 1 + (data == "cifar10")


def test_damaged_notes_write_all_again(place, written):
    for notes in (place / "cache").rglob("reports/*.json"):
        notes.write_text(notes.read_text()[:-20])
    assert written() == 2


def test_a_file_as_new_as_the_report_is_read_again(written, monkeypatch):
    """Another change within the same tick of the clock might leave no trace."""
    monkeypatch.setattr(runpage, "SETTLED", 3600)
    assert written() == 2 and written() == 2


def test_what_cannot_be_read_is_told_each_time(place, written):
    run = make(place, method=ATJEM)
    (run.folder / "samples.png").write_bytes(b"no picture")
    assert written() == 1 and written() == 1
