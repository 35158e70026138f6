"""The rules of axe-core (WCAG 2.2 AA, best practices) find no fault in the pages, on a screen and a dark phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from chromium import browser
from pages import board
from playwright.sync_api import Browser, Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "dark phone": {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
        "color_scheme": "dark",
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return board(tmp_path_factory.mktemp("board"), reload=3600)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    with browser() as page:
        assert page.context.browser
        yield page.context.browser


@pytest.fixture
def page(chrome: Browser, screen: str) -> Iterator[Page]:
    page = chrome.new_page(**SCREENS[screen])
    yield page
    page.close()


def faults(page: Page) -> list[str]:
    found = Axe().run(page, options={"runOnly": RULES, "resultTypes": ["violations"]}).response["violations"]
    return [f"{one['id']}: {one['help']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("name", ["leaderboard", "runs/atjem-digits-s1-f", "methods/atjem"])
def test_axe_finds_no_fault(page: Page, folder: Path, name: str) -> None:
    page.goto(f"file://{folder}/{name}.html")
    # Unfold our own tables (those of others are many and look the same), and lay out what is not on the screen.
    page.evaluate("document.querySelectorAll('details:not(.folded)').forEach(one => one.open = true)")
    page.evaluate("document.querySelectorAll('section').forEach(one => one.style.contentVisibility = 'visible')")
    assert faults(page) == []


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_no_fault_in_what_is_pressed_told_and_enlarged(page: Page, folder: Path) -> None:
    page.goto(f"file://{folder}/leaderboard.html")
    page.get_by_role("button", name="JEM", exact=True).click()
    page.get_by_role("button", name="Enlarge the plot").first.click()
    page.locator("dialog .point").first.focus()
    assert faults(page) == []


def test_the_rules_can_fail(chrome: Browser) -> None:
    page = chrome.new_page()
    page.set_content("<html><body><img src='data:,'><p style='color: #999'>faint</p></body></html>")
    assert {fault.split(":")[0] for fault in faults(page)} >= {"image-alt", "color-contrast", "html-has-lang"}
    page.close()
