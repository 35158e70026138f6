"""Reports show methods by their titles and cite their papers; names, order, CSV and configs keep the bare names."""

import re
from pathlib import Path

import pandas as pd
import pytest
from pages import row
from recorded import ATJEM, a_row, finish, make, scores

from harness.core.registry import names
from harness.reports import leaderboard, titles
from harness.reports.csv_table import tidy
from harness.reports.latex import latex
from harness.reports.runpage import pages
from harness.reports.section import Section
from harness.reports.series import label
from harness.reports.stability import studies
from harness.runs.compose import compose

ENTRIES = set(re.findall(r"@\w+\{(\w+),", titles.BIBLIOGRAPHY.read_text(encoding="utf-8")))


@pytest.mark.parametrize("method", names("method"))
def test_every_method_has_a_title_and_what_it_cites_is_in_the_bibliography(method: str) -> None:
    assert titles.title(method) != method
    assert not titles.cite(method) or titles.cite(method) in ENTRIES
    assert not names("method")[method].startswith("title:"), "the first line describes the method"
    (config,) = compose([f"method={method}", "data=digits"])
    assert not {"title", "cite"} & (config.method.keys() | config.mapping().keys()), "they would name other runs"


def test_every_entry_of_the_bibliography_is_cited() -> None:
    assert {titles.cite(method) for method in names("method")} - {""} == ENTRIES


def test_overrides_follow_the_title_and_a_method_of_another_harness_keeps_its_name() -> None:
    run = a_row("atjem", overrides="method.joint.training.lr=1e-3")
    assert label(run) == "AT-JEM (DAT) (method.joint.training.lr=1e-3)"
    assert label(a_row("of_another_harness")) == "of_another_harness"
    assert label(a_row("../at")) == "../at"


def test_rows_are_sorted_and_the_csv_is_written_by_the_bare_names() -> None:
    found = [a_row(method) for method in ("trades", "sadajem", "jempp", "atjem", "ebjdat")]
    assert [one.runs[0].method for one in Section(found).series] == ["atjem", "ebjdat", "jempp", "sadajem", "trades"]
    assert list(tidy(found)["method"]) == ["trades", "sadajem", "jempp", "atjem", "ebjdat"]


def test_tables_in_latex_cite_and_no_other_form_does() -> None:
    runs = [a_row("atjem", scores=scores(50, 2.0, 1)), a_row("standard", scores=scores(1, 9.0, 1))]
    (table,) = Section(runs).main()
    text = latex([("digits", table)])
    assert r"AT-JEM (DAT)~\cite{yin2026scalable}$^\diamond$ &" in text and "Standard &" in text
    (study,) = studies([a_row("jempp", state="diverged", study={"rate": 1.0})])
    assert r"JEM++~\cite{yang2021jempp} &" in latex([("digits", study.table())])
    assert "yin2026" not in table.markdown()


def test_the_bibliography_lies_beside_the_tables_that_cite_it(tmp_path: Path) -> None:
    run = finish(make(tmp_path, method=ATJEM), scores(50, 2.0, 1))
    folder = leaderboard.write(run.config).page.parent
    cited = re.findall(r"\\cite\{(\w+)\}", (folder / "leaderboard.tex").read_text(encoding="utf-8"))
    assert cited and set(cited) <= ENTRIES
    assert (folder / "references.bib").read_bytes() == titles.BIBLIOGRAPHY.read_bytes()
    page = (folder / "leaderboard.html").read_text(encoding="utf-8")
    assert '<th scope="row"><a href="methods/atjem.html">AT-JEM (DAT)</a> <' in page
    assert list(pd.read_csv(folder / "leaderboard.csv")["method"]) == ["atjem"]
    assert (folder / "runs" / f"{run.name}.html").exists()


def test_the_page_of_a_run_has_the_title(tmp_path: Path) -> None:
    run = row(tmp_path, "jempp")
    with pages(tmp_path / "pages", [run]):
        pass
    assert "<dt>Method</dt><dd>JEM++</dd>" in (tmp_path / "pages" / f"{run.name}.html").read_text(encoding="utf-8")
