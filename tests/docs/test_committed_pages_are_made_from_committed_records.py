"""The committed pages of Fashion-MNIST are what `report` makes of the committed records, in any clone."""

from pathlib import Path

import pytest
from commandline import harness

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "fashion_mnist"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The report, made anew."""
    folder = tmp_path_factory.mktemp("report")
    status, out, err = harness("report", f"runs={PAGES / 'records'}", f"reports={folder}", folder=folder)
    assert status == 0, out + err
    return folder


def test_each_page_is_the_committed_one(made):
    names = {path.relative_to(made).as_posix() for path in made.rglob("*.md")}
    committed = {path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*.md")}
    assert names == committed
    assert {name: (made / name).read_text() for name in names} == {name: (PAGES / name).read_text() for name in names}


def test_each_figure_of_the_pages_is_committed(made):
    assert {path.name for path in made.glob("figures/*.png")} == {path.name for path in PAGES.glob("figures/*.png")}


def test_records_say_nothing_of_the_machine_that_made_them():
    for path in (PAGES / "records").glob("*/*.yaml"):
        assert "/tmp/" not in path.read_text() and "/home/" not in path.read_text()
