"""Each method with runs has a page at methods/NAME: its text, equations, paper and settings, and only its rows."""

import re
from html import unescape

import pytest
from commandline import harness
from recorded import ATJEM, finish, make, robust

from harness.core.registry import names
from harness.methods.atjem import Joint
from harness.reports.methodpage import describe
from harness.runs.run import Names, Run

FORMULA = "L_BCE   = 1/(2B) Σ_i [ softplus(−s(x_i)) + softplus(s(õ_i)) ]"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The report of three methods, of which one is not installed here."""
    folder = tmp_path_factory.mktemp("report")
    finish(make(folder, method=ATJEM), robust(41))
    finish(make(folder, seed=1, method=ATJEM), robust(43))
    finish(make(folder), robust(57))
    theirs = Run(make(folder, method={"name": "theirs"}).config, Names("a" * 12, "b" * 12, "c" * 12))
    finish(theirs, robust(31))
    status, out, err = harness("report", f"runs={folder / 'runs'}", f"reports={folder / 'pages'}", folder=folder)
    assert status == 0, out + err
    return folder / "pages"


@pytest.mark.parametrize("kind", ["md", "html"])
def test_the_page_has_text_equations_paper_settings_and_its_own_rows_only(written, kind):
    text = unescape((written / "methods" / f"atjem.{kind}").read_text())
    for part in ("AT-JEM (DAT)", "a robust classifier that becomes an EBM", FORMULA, "arXiv:2510.13872", "epochs: 30"):
        assert part in text
    assert "42.0" in text and "57.0" not in text
    assert f'href="at.{kind}"' in text or f"](at.{kind})" in text


def test_the_equation_of_a_page_is_the_docstring_of_the_loss(written):
    equations = [one.text for one in describe("atjem").passages["Joint"] if one.equation]
    assert FORMULA in equations[0] and FORMULA in Joint.__doc__


def test_what_stands_between_backticks_is_code(written):
    text = (written / "methods" / "atjem.html").read_text()
    assert "<code>walk.steps</code>" in text and "&lt;code" not in text


def test_a_method_that_is_not_installed_has_none(written):
    assert {path.stem for path in (written / "methods").iterdir()} == {"at", "atjem"}
    assert "31.0" in (written / "LEADERBOARD.md").read_text()


def test_each_link_leads_to_a_page(written):
    for page in (*written.glob("*.md"), *written.glob("methods/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    for page in (written / "leaderboard.html", *written.glob("methods/*.html")):
        for target in re.findall(r'href="([^"#:]+)["#]', page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("method", sorted({*names("method")} - {"pretrained", "samples"}))
def test_each_method_that_trains_shows_an_equation_and_a_paper(method):
    about = describe(method)
    assert any(one.equation for passages in about.passages.values() for one in passages), "no equation in its file"
    assert about.paper or method in ("standard", "generative")
