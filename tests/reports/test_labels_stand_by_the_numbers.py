"""A protocol's label is shown wherever its numbers appear, also on the terminal."""

from pathlib import Path

import pytest
from recorded import finish, make, robust

from harness.cli import tables
from harness.cli.bars import Display
from harness.evaluation.score import Score
from harness.launch import status
from harness.runs import record
from harness.runs.run import Run

QUICK = record.ProtocolTag(id="quick-digits-1", hash="0", label="for trying out")
DETAIL = Score(title="AUROC", value=91.25, n=720, unit="%", better="higher", table="OOD detection")


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    """One run evaluated under the quick protocol, one under the full one."""
    scores = {**robust(40.125), "ood/fields": DETAIL}
    return [finish(make(tmp_path, 0), scores, protocol=QUICK), finish(make(tmp_path, 1), robust(60))]


def printed(*what: object) -> str:
    with tables.console.capture() as heard:
        tables.console.print(*what)
    return heard.get()


def test_the_table_of_scores_is_titled_so(runs):
    assert "Scores: for trying out" in printed(tables.scores_table(runs))
    assert "trying" not in printed(tables.scores_table(runs[1:]))


def test_the_line_of_a_run_that_is_done_begins_so(runs):
    for run, line in zip(runs, ["for trying out: Robust accuracy 40.12%", "Robust accuracy 60.00%"], strict=True):
        with tables.console.capture() as heard:
            Display(1).finished(run, record.read(run.folder / "record.json"))
        assert heard.get() == f"{run.name}  done  {line}\n"


def states(runs):
    return tables.status_table(status.rows([run.folder for run in runs], status.Jobs()), "runs")


def test_the_states_begin_so(runs):
    quick, earnest = printed(states(runs)).splitlines()[4:6]
    assert "for trying out: Robust" in quick and "trying" not in earnest


def test_details_are_left_to_the_leaderboard(runs):
    assert "AUROC" not in printed(tables.scores_table(runs)) + printed(states(runs[:1]))
