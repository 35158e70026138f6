"""At 80 columns nothing that matters is cut: names, states, steps, times and errors are whole."""

from types import SimpleNamespace

import pytest
from recorded import finish, make, scores

import harness
from harness.cli import bars, tables
from harness.cli.bars import Display
from harness.cli.plan import prices_table, stages_table
from harness.cli.tables import runs_table
from harness.cost.price import Price
from harness.launch.status import StatusRow
from harness.runs.pace import Paces

ROWS = [
    StatusRow(
        "stage robust-digits-s0-f43960d3", "running", "312/589  ce 0.31  robust_accuracy 0.55", 240.0, "n1:123456"
    ),
    StatusRow("atjem-fashion_mnist-s0-098b4400", "queued", "waits for stage robust: 312/589, 4 min left"),
    StatusRow(
        "at-digits-s0-0b43355c", "failed", "train robust 1/1,540", error="OSError: no space at /scratch/" + 60 * "x"
    ),
    StatusRow(
        "jempp-digits-s0-f39025e0", "running", "robustness 1/3  apgd-ce: 66 of 120 stand", 3700.0, "4711_3 RUNNING"
    ),
]


@pytest.fixture(params=[80, 160])
def show(request, monkeypatch):
    """A function that returns what is printed at 80 or 160 columns, cell by cell in one line."""
    monkeypatch.setattr(tables.console, "width", request.param)

    def shown(table) -> str:
        with tables.console.capture() as captured:
            tables.console.print(table)
        lines = captured.get().splitlines()
        assert max(map(len, lines)) <= request.param and "…" not in captured.get()
        assert all(line.endswith("│") for line in lines if line.startswith("│")), "no column is cut at the right"
        cells = [[cell.strip() for cell in line[1:-1].split("│")] for line in lines if line.startswith("│")]
        return " ".join(" ".join(column) for column in zip(*cells, strict=True))

    return shown


def test_rows_of_status_are_whole(show):
    text = show(tables.status_table(ROWS, "4 runs")).replace(" ", "")
    for row in ROWS:
        for part in (row.name, row.progress, row.job, row.error):
            assert part.replace(" ", "") in text
    assert "4min" in text and "1h1min" in text


def test_scores_of_several_runs_are_whole(show, tmp_path):
    runs = [finish(make(tmp_path, seed), scores(84.25, 0.801, 2.5)) for seed in (0, 1)]
    text = show(tables.scores_table(runs))
    for word in (runs[1].name, "done", "84.25%", "0.80", "2.50%"):
        assert word in text.split()


def test_runs_and_plans_are_whole(show, tmp_path):
    runs = harness.plan("method=atjem", "seed=0,1", "budget=0.5", f"runs={tmp_path / 'runs'}")
    for run in runs:
        assert run.name in show(runs_table(runs)).split()
    paces = Paces(runs[0].root)
    prices = [Price(run, paces) for run in runs]
    stages, costs = show(stages_table(prices)), show(prices_table(prices))
    for run in runs:
        names = {stage_run.folder.name for stage_run in run.stage_runs}
        assert names <= set(stages.split()) and "to do" in stages and "1 run" in stages
        assert run.name in costs.split()


@pytest.mark.parametrize("width", [80, 160])
def test_a_comparison_cuts_no_word(tmp_path, type_, monkeypatch, width):
    title = "Counterfactual FD (digits features) at 90 % confidence"
    score = scores(84.25, 0.801, 2.5)
    both = score | {"counterfactual_fd": score["fd_digits"].model_copy(update={"title": title})}
    first, second = (finish(make(tmp_path, seed), both) for seed in (0, 1))
    monkeypatch.setattr(tables.console, "width", width)
    status, out, err = type_("compare", first.name, second.name, f"runs={first.root}")
    assert status == 0 and "…" not in out, err
    assert {"Counterfactual", "features)", "confidence", "2.50"} <= set(out.replace("│", " ").split())
    assert all(line.endswith("│") for line in out.splitlines() if line.startswith("│")), "no column is cut at the right"


def test_the_bar_keeps_what_is_done_and_the_attack_and_cuts_last_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(tables.console, "width", 80)
    monkeypatch.setattr(bars.console, "_force_terminal", True)
    run, display = make(tmp_path), Display(12)

    def line() -> str:
        with tables.console.capture() as captured:
            tables.console.print(display.progress.get_renderable())
        return captured.get()

    display.working(run, "robustness", 1, 3, "apgd-ce: 66 of 120 stand")
    assert "robustness" in line() and "1/3" in line() and "apgd-ce: 66 of 120 stand" in line()
    figures = {"ce": 0.31, "robust_accuracy": 0.55, "a_third_figure": 0.5}
    display.training(run, "robust", SimpleNamespace(step=312, steps=1589, figures=figures))
    assert "1/12 at s0 train robust" in line() and "312/1589" in line() and "ce 0.31" in line()
    assert line().count("\n") == 1
