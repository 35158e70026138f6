"""The committed pages of our studies are what `report` makes of the committed records, in any clone."""

from pathlib import Path

import pytest
from commandline import harness

DOCS = Path(__file__).parents[2] / "docs"
STUDIES = ("digits", "fashion_mnist")

BY_HAND = {"digits": {"cpus.md", "cpus-checked.md", "stability.md"}, "fashion_mnist": set()}
"""Pages that other commands wrote."""


@pytest.fixture(scope="module", params=STUDIES)
def both(request, tmp_path_factory):
    """The committed report of a study, and the report made anew."""
    folder = tmp_path_factory.mktemp("report")
    pages = DOCS / request.param
    status, out, err = harness("report", f"runs={pages / 'records'}", f"reports={folder}", folder=folder)
    assert status == 0, out + err
    return pages, folder


def test_each_page_is_the_committed_one(both):
    pages, made = both
    names = {path.relative_to(made).as_posix() for path in made.rglob("*.md")}
    committed = {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")}
    assert names == committed - BY_HAND[pages.name]
    assert {name: (made / name).read_text() for name in names} == {name: (pages / name).read_text() for name in names}


def test_each_figure_of_the_pages_is_committed(both):
    pages, made = both
    figures = {path.name for path in pages.glob("figures/*.png") if not path.name.startswith("stability")}
    assert {path.name for path in made.glob("figures/*.png")} == figures


@pytest.mark.parametrize("study", STUDIES)
def test_records_say_nothing_of_the_machine_that_made_them(study):
    for path in (DOCS / study / "records").glob("*/*.yaml"):
        assert "/tmp/" not in path.read_text() and "/home/" not in path.read_text()
