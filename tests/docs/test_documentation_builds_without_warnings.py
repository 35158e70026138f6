"""The documentation builds without a warning: all links between its pages have a target."""

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "--keep-going", DOCS, folder]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_in_the_site_and_its_contents(site):
    contents = (site / "index.html").read_text()
    for page in DOCS.rglob("*.md"):
        html = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / html).exists()
        assert f'href="{html}"' in contents or html == "index.html", html


def test_the_reference_is_made_of_docstrings(site):
    from harness import plan
    from harness.core.method import Stage

    assert plan.__doc__.split(",")[0] in (site / "api" / "python.html").read_text()
    assert 'id="harness.core.method.Stage.loss"' in (site / "api" / "methods.html").read_text()
    assert Stage.loss.__doc__


def test_pages_fetch_nothing_from_elsewhere(site):
    for html in site.rglob("*.html"):
        for tag in ('<script src="http', '<link rel="stylesheet" href="http', '<img src="http'):
            assert tag not in html.read_text(), html
