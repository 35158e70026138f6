"""What training cost stands beside the scores: FLOP, images, hours, energy and the time to an accuracy."""

import json
from pathlib import Path

import pytest
from pages import CONFIG, COST, STAGE, row

from harness.reports import figures as drawn
from harness.reports.columns import costs
from harness.reports.csv_table import tidy
from harness.reports.section import Section
from harness.reports.series import Series
from harness.runs.row import Row, row_of
from harness.runs.spent import Reached, Spent

STANDARD = Path(__file__).parents[2] / "docs" / "digits" / "records" / "standard-digits-s0-29cc06b0"
TWO = [
    STAGE.model_copy(update={"name": "robust", "steps": 100, "images": 1000, "seconds": 360.0}),
    STAGE.model_copy(update={"name": "joint", "steps": 50, "images": 1000, "seconds": 720.0}),
]
LOG = [(500, "robust", 0.5), (1000, "robust", 0.7), (1250, "joint", 0.75), (1500, "joint", 0.6), (2000, "joint", 0.96)]


def trained(folder: Path, method: str = "atjem", upto: float = 1.0, **fields) -> Row:
    """A run of two stages with accuracies of at most `upto`."""
    lines = [
        {"images": at, f"{stage}/ce": 1.0, f"{stage}/validation_accuracy": min(right, upto)} for at, stage, right in LOG
    ]
    texts = {"config.yaml": CONFIG, "metrics.jsonl": "".join(f"{json.dumps(line)}\n" for line in lines)}
    cost = COST.model_copy(update={"stages": TWO, "training_seconds": 1080.0})
    return row(folder, method, texts=texts, **({"cost": cost} | fields))


def cells(*rows: Row) -> list[dict[str, str]]:
    series = [Series([one]) for one in rows]
    return [{column.header: column.cell(one).text for column in costs(series)} for one in series]


def spend(one: Row, flop: float | None) -> Row:
    """The row with this number of FLOP."""
    one.__dict__["spent"] = Spent(flop, one.spent.accuracies)
    return one


def test_time_to_an_accuracy_is_that_of_its_first_measurement_over_all_stages(tmp_path):
    found = trained(tmp_path).spent
    assert found.until(50) == Reached(50.0, 50, 180.0)
    assert found.until(75) == Reached(75.0, 112, 540.0), "a quarter of the second stage, whose steps are slower"
    assert found.until(95) == Reached(96.0, 150, 1080.0) and found.until(99) is None


def test_the_table_shows_the_highest_accuracy_that_all_runs_reached(tmp_path):
    (alone,), (first, second) = (
        cells(trained(tmp_path / "a")),
        cells(trained(tmp_path / "b"), trained(tmp_path / "c", upto=0.8)),
    )
    assert (alone["steps to 95 %"], alone["hours to 95 %"]) == ("150", "0.3")
    assert first["steps to 75 %"] == second["steps to 75 %"] == "112" and "steps to 90 %" not in first
    assert (alone["images seen"], alone["training, h"]) == ("2 k", "0.3")
    (none,) = cells(trained(tmp_path / "d", upto=0.3))
    assert not [header for header in none if "%" in header]


def test_energy_is_shown_by_what_used_it(tmp_path):
    stages = [STAGE.model_copy(update={"joules": 7.2e6, "cpu_joules": 3.6e6})]
    (shown,) = cells(trained(tmp_path, cost=COST.model_copy(update={"stages": stages})))
    assert (shown["energy of GPUs, kWh"], shown["energy of CPUs, kWh"]) == ("2", "1")


def test_the_csv_holds_each_accuracy_that_was_reached(tmp_path):
    table = tidy([spend(trained(tmp_path), 3e12)])
    assert table["training_flop"][0] == 3e12 and table["images_seen"][0] == 2000
    assert list(table["steps_to/75"]) == [112] and list(table["hours_to/95"]) == [0.3]
    assert "steps_to/99" not in table and "cpu_kwh" in table


def test_records_of_older_versions_have_their_flop(tmp_path):
    (shown,) = cells(row_of(STANDARD))
    assert shown["training FLOP"] == "677 G", "589 steps of 128 images, three forwards each but for the first layer"


@pytest.mark.parametrize("change", ["name: atjem->name: absent", "bce: 0.25->bce: 99999999999", "method:->method: ["])
def test_what_cannot_be_counted_is_unknown_and_costs_no_other_column(tmp_path, change):
    before, after = change.split("->")
    texts = {"config.yaml": CONFIG.replace(before, after), "metrics.jsonl": ""}
    (shown,) = cells(row(tmp_path, texts=texts))
    assert "training FLOP" not in shown and shown["images seen"] == "9.88 k"


def test_robust_accuracy_is_drawn_against_flop_if_all_are_known_and_else_against_hours(tmp_path, monkeypatch):
    given: list[tuple] = []
    monkeypatch.setattr(drawn, "tradeoff", lambda path, *arguments: given.append(arguments))

    def draw(*flop: float | None) -> tuple:
        given.clear()
        folder = tmp_path / str(flop)
        rows = [
            spend(trained(folder, method), number) for method, number in zip(("at", "jem", "mart"), flop, strict=True)
        ]
        free = row(folder, "pretrained", cost=COST.model_copy(update={"stages": []}))
        captions = [
            caption for caption, path in drawn.figures(Section([*rows, free]), folder) if path.name.startswith("cost")
        ]
        (points, _, x, y, _) = next(arguments for arguments in given if arguments[2].title.startswith("training"))
        return {point.label: (point.x.mean, point.front) for point in points}, x, y, captions

    points, x, y, (caption,) = draw(4e15, 5e14, 6e15)
    assert points == {"AT": (4, False), "JEM": (0.5, True), "MART": (6, False)}, (
        "what was trained elsewhere has no cost"
    )
    assert (x.title, x.better, y.title) == ("training, PFLOP", "lower", "Robust accuracy, %")
    assert "in PFLOP" in caption
    points, x, _, _ = draw(4e15, None, 6e15)
    assert x.title == "training, hours" and points["AT"][0] == pytest.approx(0.3)
