"""A headless browser: Debian's Chromium, driven by playwright."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Error, Page, sync_playwright

FLAGS = (
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

SCREENSHOTS = Path(__file__).parents[1] / "screenshots"
"""The folder where `shot` writes screenshots; git ignores them, CI keeps them."""


@contextmanager
def browser(width: int = 1400, height: int = 1000, touch: bool = False) -> Iterator[Page]:
    """A page with a fresh profile; errors of its scripts fail the test. touch: a phone with a touch screen.

    Skips the test where there is no Chromium, except on CI (CI is set), which must have one.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        missing = "there is no Chromium: apt-get install chromium"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    faults: list[str] = []
    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=FLAGS) as chrome:
        page = chrome.new_page(viewport={"width": width, "height": height}, has_touch=touch, is_mobile=touch)
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        yield page
    assert not faults, faults


def address_of(page: Page) -> str:
    """The page's address now; playwright's own `page.url` may still be that before the last action."""
    return page.evaluate("location.href")


def until(page: Page, expression: str, seconds: float = 30) -> None:
    """Wait until the JavaScript expression is true. The page may reload meanwhile.

    Playwright's own `wait_for_function` polls by `eval`, which the pages' content security policy refuses.

    Raises TimeoutError after `seconds`, with what the last try said.
    """
    end, last = time.monotonic() + seconds, "false"
    while time.monotonic() < end:
        try:
            if page.evaluate(expression):
                return
        except Error as error:  # a page that reloads has no context for a moment
            last = error.message
        page.wait_for_timeout(50)
    raise TimeoutError(f"not true after {seconds} s: {expression} ({last})")


def shot(page: Page, name: str, whole: bool = False) -> Path:
    """Save a screenshot of the visible part of the page, or of the whole page."""
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    return path
