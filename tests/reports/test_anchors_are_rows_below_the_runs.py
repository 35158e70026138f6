"""Anchors are rows below those of the runs: neither ranked nor bold, one for each source of starts."""

from recorded import a_row, scores

from harness.evaluation.score import ANCHOR, Score
from harness.reports.section import Section
from harness.runs.row import Row


def fd(value: float, table: str = "") -> Score:
    return Score(title="FD", value=value, n=500, better="lower", table=table)


def row(method: str, distance: float, starts: str = "fields", seed: int = 0) -> Row:
    anchors = {
        "anchor/test/fd_digits": fd(0.5, f"{ANCHOR}real images"),
        "anchor/starts/fd_digits": fd(80 if starts == "fields" else 90, f"{ANCHOR}starts ({starts})"),
    }
    return a_row(method, seed, scores={**scores(50, distance, 2), **anchors})


def test_they_stand_below_the_runs_and_take_no_part() -> None:
    section = Section([row("at", 20), row("at", 22, seed=1), row("jem", 30), row("jem", 33, seed=1)])
    (table,) = section.main()
    names = [cells[0].text for cells in table.rows]
    assert names == ["AT", "JEM", "real images", "starts (fields)"]
    place = table.headers.index("FD ↓")
    assert [cells[place].text for cells in table.rows] == ["21.00 ± 1.41", "31.50 ± 2.12", "0.50", "80.00"]
    assert [cells[place].best for cells in table.rows] == [True, False, False, False]
    assert {len(cells) for cells in table.rows} == {len(table.headers)}
    assert len(table.series) == 2 and section.front == {"at"}
    assert all("nchor" not in table.title for table in section.tables), "they are no further tables"


def test_runs_with_other_starts_have_an_anchor_of_their_own() -> None:
    section = Section([row("at", 20), row("jem", 30, starts="noise")])
    assert list(section.anchors) == ["real images", "starts (fields)", "starts (noise)"]


def test_runs_that_are_not_ranked_have_the_anchors_in_no_second_table() -> None:
    barred = a_row("jem", scores=row("jem", 30).scores, doubts=["mixed code"])
    ranked, others = Section([row("at", 20), barred]).main()
    assert len(ranked.rows) == 3 and len(others.rows) == 1


def test_a_page_without_anchors_is_as_it_was() -> None:
    (table,) = Section([a_row("at", scores=scores(50, 20, 2))]).main()
    assert len(table.rows) == 1
