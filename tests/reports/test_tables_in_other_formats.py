"""The tables in LaTeX and CSV agree with the page; nothing in a run's name breaks them or its Markdown."""

import re
from math import nan
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import a_row, scores

from harness.evaluation.score import Selection
from harness.reports.csv_table import for_spreadsheets, tidy
from harness.reports.latex import escape, latex
from harness.reports.section import Section, front
from harness.reports.series import origin
from harness.reports.tables import Cell, Table
from harness.runs.record import Cost

NASTY = r"a_b=50% & c#1 {d} \input{e} $f$ g^h~i <script> | j 中"


def test_latex_is_a_table_with_booktabs_in_which_every_row_has_every_cell() -> None:
    rows = [[Cell(NASTY, marks="◆"), Cell("51.2 ± 0.4", best=True, marks="†")], [Cell("at"), Cell("–")]]
    text = latex([("digits, protocol p_1", Table("", ["method", "FD ↓ %"], rows, "Counts: n = 5."))])
    assert re.findall(r"\\(toprule|midrule|bottomrule)", text) == ["toprule", "midrule", "bottomrule"]
    assert r"\caption{digits, protocol p\_1. Counts: n~=~5.}" in text
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.findall(r"(?<!\\)&", line)) for line in lines] == [1, 1, 1]
    assert r"method & \shortstack[l]{FD\\$\downarrow$ \%}" in lines[0]
    assert r"\textbf{51.2 $\pm$ 0.4}$^\dagger$" in lines[1] and lines[2].startswith("at & --")
    assert r"\input" not in text and text.isascii()


@settings(max_examples=40)
@given(st.text())
def test_what_is_escaped_holds_no_command_and_closes_what_it_opens(text: str) -> None:
    found = escape(text)
    assert set(re.findall(r"\\([a-zA-Z]+)", found)) <= set(re.findall(r"\\([a-z]+)", "".join(map(escape, KNOWN))))
    bare = re.sub(r"\\.", "", found)
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0 and not set(bare) & set("%#&_")


KNOWN = "\\~^↑↓±×≥∞–·†◆εσ\u2007"


def test_csv_gives_every_run_and_number_back(tmp_path: Path) -> None:
    stages = Cost(stages=[], training_seconds=1.25, evaluation_seconds=2, peak_memory_mb=3)
    rows = [
        a_row("at", 0, scores=scores(1 / 3, 20.0, 2.0), cost=stages, parameters=7, overrides=NASTY),
        a_row("at", 1, state="failed"),
        a_row("jem", study={"rate": 2.0}, scores={"ece": scores(1, 1, 0.5)["ece"]}),
    ]
    for_spreadsheets(tidy(rows)).to_csv(tmp_path / "all.csv", index=False, lineterminator="\n")
    found = pd.read_csv(tmp_path / "all.csv")
    assert list(found["name"]) == [row.name for row in rows] and list(found["seed"]) == [0, 1, 0]
    assert found["overrides"][0] == NASTY and found["training_seconds"][0] == 1.25
    assert found["robust_accuracy/l2_0.5"].fillna(-1).tolist() == [1 / 3, -1, -1]
    assert found["robust_accuracy/l2_0.5/low"][0] == 1 / 3 - 5 and found["ece"].tolist()[2] == 0.5
    assert found["study/rate"].fillna(nan).tolist()[2] == 2.0


def test_markdown_keeps_a_nasty_name_in_its_cell() -> None:
    text = Table("", ["method", "x"], [[Cell(NASTY + "\nsecond line"), Cell("1")]]).markdown()
    assert len(text.splitlines()) == 3 and r"\| j" in text


points = st.dictionaries(st.text(max_size=3), st.tuples(*[st.integers(0, 5)] * 2), max_size=12)


@given(points)
def test_the_pareto_front_is_those_that_none_beats(found: dict[str, tuple[float, float]]) -> None:
    def beaten(one: tuple[float, float]) -> bool:
        return any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in found.values())

    assert front(found) == {name for name, point in found.items() if not beaten(point)}


def test_what_was_tuned_on_the_test_split_is_on_no_front() -> None:
    tuned = {"rate": Selection(by="robust accuracy", split=["test"])}
    rows = [
        a_row("at", scores=scores(50, 20.0, 1)),
        a_row("jem", scores=scores(40, 2.0, 1)),
        a_row("worse", scores=scores(39, 3.0, 1)),
        a_row("tuned", scores=scores(99, 0.1, 1), selection=tuned),
    ]
    assert Section(rows).front == {"at", "jem"}


@pytest.mark.parametrize(
    ("by", "split", "said"),
    [
        ("accuracies, seed 0", ["validation"], "chosen by accuracies, seed 0, on validation"),
        ("accuracies on validation, seed 0", ["validation"], "chosen by accuracies on validation, seed 0"),
        ("FD against train", ["train", "validation"], "chosen by FD against train, on train and validation"),
        ("accuracy on the test split", ["test"], "chosen by accuracy on the test split: not ranked"),
        ("the last ones, not tuned", [], "the last ones, not tuned"),
    ],
)
def test_splits_are_said_once(by: str, split: list, said: str) -> None:
    (note,) = origin(a_row("at", selection={"steps": Selection(by=by, split=split)}))
    assert note == f"AT, steps: {said}"
