"""`report` prints the main columns of each table: at 80 columns no number, name or count is cut."""

import pytest
from recorded import ATJEM, finish, make, scores

from harness.cli import report, tables
from harness.reports.tables import Cell, Table


@pytest.mark.parametrize("width", [80, 160])
def test_numbers_are_whole_and_pages_are_named(tmp_path, type_, monkeypatch, width):
    finish(make(tmp_path, method=ATJEM), scores(84.25, 0.801, 2.5))
    run = finish(make(tmp_path), scores(57.75, 27.125, 1.5, warnings=["few restarts"]))
    monkeypatch.setattr(tables.console, "width", width)
    status, out, err = type_("report", f"runs={run.root}", "reports=pages")
    assert status == 0, err
    lines = out.splitlines()
    assert all(len(line.rstrip()) <= width for line in lines) and "…" not in out
    words = out.split()
    for number in ("84.2", "[79.2,", "89.2]", "57.8", "27.12", "2.5", "1/1", "AT-JEM", "†"):
        assert number in words, out
    assert "pages/LEADERBOARD.md" in out and "pages/leaderboard.html" in out and "|" not in out


def test_the_columns_of_the_digits_page_fit_80_columns(monkeypatch):
    monkeypatch.setattr(tables.console, "width", 80)
    headers = ["method", "Clean accuracy ↑ %", "Robust accuracy (L2 0.5) ↑ %", "FD (digits features) ↓", "ECE ↓ %"]
    headers += ["OOD AUROC, attacked ↑ %", "seeds"]
    texts = [
        ["Generative only", "98.9 ± 0.5", "60.6 ± 2.9", "12.82 ± 1.18", "43.1 ± 1.8", "47.5 ± 14.7", "3/3"],
        ["Pretrained", "99.7 [98.4, 100.0]", "42.8 [37.8, 47.9]", "n/a", "0.7", "100.0 [99.9, 100.0]", "1/1"],
    ]
    page = Table("", headers, [[Cell(text) for text in row] for row in texts], series=[None] * len(texts))
    with tables.console.capture() as captured:
        tables.console.print(report._main_columns(page, "digits"))
    out = captured.get()
    assert max(map(len, map(str.rstrip, out.splitlines()))) <= 80 and "…" not in out
    assert set(" ".join(text for row in [headers, *texts] for text in row).split()) <= set(out.split())


def test_scores_of_one_run_are_rows_with_their_intervals(tmp_path):
    run = finish(make(tmp_path), scores(57.75, 27.125, 1.5))
    with tables.console.capture() as captured:
        tables.console.print(tables.scores_table([run]))
    (row,) = [line for line in captured.get().splitlines() if "Robust accuracy" in line]
    assert [cell.strip() for cell in row.strip("│ \n").split("│")] == [
        "Robust accuracy",
        "57.75%",
        "52.75 to 62.75",
        "100",
    ]


def test_a_count_has_its_noun():
    from harness.core.text import counted

    assert [counted(n, "run") for n in (0, 1, 2, 1000)] == ["0 runs", "1 run", "2 runs", "1,000 runs"]
