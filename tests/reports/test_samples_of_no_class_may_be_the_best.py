"""Who cannot draw samples of a class has n/a there and is still ranked; what sampling costs is a column of costs."""

from recorded import a_row, scores

from harness.evaluation.score import CLASSWISE
from harness.reports.columns import costs
from harness.reports.section import Section
from harness.reports.series import Series
from harness.runs.record import Cost, SamplingCost
from harness.runs.row import Row

AGREEMENT = f"{CLASSWISE}agreement"


def test_only_what_a_class_needs_is_forgiven() -> None:
    best = a_row("jem", scores=scores(90.0, 2.0, 1.0), not_given=[AGREEMENT])
    only = a_row("ratio", scores=scores(99.0, 0.1, 1.0), not_given=[AGREEMENT, "kid_digits"])
    section = Section([a_row("at", scores=scores(50.0, 20.0, 2.0)), best, only])
    assert section.front == {"jem"}


def test_sampling_has_its_columns_where_it_was_measured() -> None:
    measured = SamplingCost(images=50, seconds=4.0, passes=40, flop=3_000_000_000)
    spent = Cost(stages=[], training_seconds=1, evaluation_seconds=1, peak_memory_mb=1)
    rows = [a_row("at", cost=spent.model_copy(update={"sampling": measured})), a_row("jem", cost=spent)]
    cells = {column.header: [column.cell(Series([row])).text for row in rows] for column in costs([*map(_one, rows)])}
    assert cells["samples/s"] == ["12.5", "–"] and cells["passes/sample"] == ["40", "–"]
    assert cells["GFLOP/sample"] == ["3", "–"]
    assert not any("sample" in column.header for column in costs([_one(rows[1])])), "no empty columns"


def _one(row: Row) -> Series:
    return Series([row])
