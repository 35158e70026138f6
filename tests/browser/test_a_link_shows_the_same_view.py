"""What is filtered, sorted and plotted stands in the address, so that a link shows the same view."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import address_of, browser, until
from pages import board
from playwright.sync_api import Page


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"file://{board(tmp_path_factory.mktemp('board'), reload=3600)}/leaderboard.html"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture(autouse=True)
def fresh(page: Page, address: str) -> None:
    page.goto("about:blank")
    page.goto(address)


def again(page: Page) -> None:
    """Open the page's present address elsewhere."""
    address = address_of(page)
    page.goto("about:blank")
    page.goto(address)


def view(page: Page) -> dict[str, object]:
    """What a reader sees of the choices."""
    return {
        "rows": page.locator(".main tbody th:visible").all_inner_texts(),
        "pressed": page.locator(".chips [aria-pressed=true]").all_inner_texts(),
        "ranked": page.get_by_role("checkbox", name="ranked").is_checked(),
        "words": page.get_by_role("searchbox").input_value(),
        "place": page.get_by_label("Show").input_value(),
        "sorted": page.locator("[aria-sort]").evaluate_all("found => found.map(one => one.ariaSort + one.textContent)"),
        "axes": page.locator(".plot select").evaluate_all("found => found.map(one => one.value)"),
        "points": page.locator(".point").evaluate_all("found => found.map(one => one.ariaLabel)"),
    }


def test_all_choices_are_in_the_address(page: Page, address: str) -> None:
    assert address_of(page) == address, "nothing is chosen yet"
    page.get_by_label("Show").select_option(index=1)
    page.get_by_role("searchbox").fill("digits")
    page.get_by_role("checkbox", name="ranked").check()
    for name in ("AT-JEM (DAT)", "AT", "JEM"):
        page.get_by_role("group", name="Only these methods").get_by_role("button", name=name, exact=True).click()
    page.locator(".main table").first.get_by_role("button", name="Robust accuracy").click()
    page.get_by_role("combobox", name="against").first.select_option(label="AUROC ↑ %")
    seen = view(page)
    assert seen["rows"] == ["AT-JEM (DAT) ◆", "JEM ◆", "AT"] and len(page.locator(".point").all()) == 3
    again(page)
    assert view(page) == seen
    page.reload()
    assert view(page) == seen


def test_what_is_undone_leaves_the_address(page: Page, address: str) -> None:
    chip = page.get_by_role("button", name="JEM", exact=True)
    chip.click()
    assert address_of(page).endswith("#method=jem")
    chip.click()
    page.get_by_role("searchbox").fill("x&y=#%")
    assert address_of(page).endswith("#words=x%26y%3D%23%25")
    again(page)
    assert page.get_by_role("searchbox").input_value() == "x&y=#%"
    page.get_by_role("searchbox").fill("")
    assert address_of(page) == address


def test_a_chip_shows_its_method_alone_and_not_those_whose_names_contain_it(page: Page) -> None:
    page.get_by_role("button", name="JEM", exact=True).click()
    assert page.locator(".main tbody th:visible").all_inner_texts() == ["JEM ◆"]
    assert page.locator(".filtered figure:visible").count() == 1


def test_a_link_changes_the_view_of_an_open_page(page: Page, address: str) -> None:
    page.evaluate("location.hash = '#method=at&ranked=true'")
    until(page, "document.querySelector('[name=ranked]').checked")
    assert page.locator(".main tbody th:visible").all_inner_texts() == ["AT"]


def test_a_link_within_the_page_does_not_lose_the_view(page: Page, address: str) -> None:
    page.get_by_role("button", name="JEM", exact=True).click()
    page.get_by_role("link", name="doubtful").click()
    until(page, "location.hash === '#method=jem'")
    assert page.get_by_role("heading", name="What † stands for").is_visible()


def test_a_page_that_is_watched_reloads_itself_until_that_is_unchecked_and_keeps_the_view(
    page: Page, address: str
) -> None:
    file = Path(address.removeprefix("file://")).with_name("watched.html")
    text = Path(address.removeprefix("file://")).read_text().replace('value="3600"', 'value="3"')
    file.write_text(text)
    page.goto(f"file://{file}#method=jem")
    file.write_text(text.replace("<h1>Leaderboard", "<h1>Newer"))
    page.get_by_role("heading", name="Newer").wait_for()
    # Uncheck it, in one step, for the page may reload at any moment; then it does so no more.
    until(
        page,
        """(() => {
        const reload = document.querySelector('[name=reload]');
        if (reload?.checked) reload.click();
        return location.hash === '#reload=false&method=jem' && (window.kept = true);
    })()""",
    )
    page.wait_for_timeout(4000)
    assert page.evaluate("window.kept")
    assert page.locator(".main tbody th:visible").all_inner_texts() == ["JEM ◆"]


def test_an_address_that_names_what_is_not_there_shows_the_page(page: Page, address: str) -> None:
    page.goto("about:blank")
    page.goto(f"{address}#place=gone&digits-digits-2-0123.0=sideways+gone&digits-digits-2-0123.x=gone&method=&other=1")
    assert page.get_by_label("Show").input_value() == ""
    assert page.get_by_role("combobox", name="against").first.input_value() == "Main scores: FD ↓"
    assert page.locator("[aria-sort]").count() == 0
    page.goto(f"{address}#digits-quick-1-45+gone")
    assert page.locator("output[name=count]").inner_text() == "12 of 12 rows"
