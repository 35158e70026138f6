"""The page works in a browser and on a phone: it sorts, filters and enlarges, also by keyboard; it requests nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import address_of, browser, shot, until
from pages import NASTY, board
from playwright.sync_api import Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return board(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    """The page on a desktop screen; it records its requests and console messages."""
    with browser() as page:
        page.asked, page.said = [], []  # type: ignore[attr-defined]
        page.on("request", lambda request: page.asked.append(request.url))  # type: ignore[attr-defined]
        page.on("console", lambda message: page.said.append(message.text))  # type: ignore[attr-defined]
        yield page


@pytest.fixture(autouse=True)
def fresh(page: Page, folder: Path) -> None:
    """Reload the page before every test."""
    page.goto(f"file://{folder}/leaderboard.html")


def methods(page: Page) -> list[str]:
    """The methods in the visible rows of the main table, from top to bottom."""
    names = page.locator(".main table").first.locator("tbody th:visible")
    return [name.split(" ")[0] for name in names.all_inner_texts()]


def sorting(page: Page, header: str) -> str | None:
    """The sort order that a header announces to a screen reader."""
    return page.locator(".main table").first.get_by_role("columnheader", name=header).get_attribute("aria-sort")


def test_a_click_on_a_header_sorts_by_numbers_its_better_end_first_and_the_missing_last(page: Page) -> None:
    click = page.locator(".main table").first.get_by_role("button", name="Robust accuracy").click
    click()
    assert methods(page) == ["AT-JEM", "JEM", "m5", "m4", "m3", "m2", "m1", "m0", "AT", "Generative"]
    assert sorting(page, "Robust accuracy") == "descending"
    click()
    assert methods(page) == ["AT", "m0", "m1", "m2", "m3", "m4", "m5", "JEM", "AT-JEM", "Generative"]
    assert sorting(page, "Robust accuracy") == "ascending"


def test_the_keyboard_alone_sorts(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("FD"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid", "focus must be visible"
    page.keyboard.press("Enter")
    assert methods(page)[:3] == ["JEM", "AT-JEM", "Generative"]
    assert sorting(page, "FD") == "ascending" and sorting(page, "method") is None
    page.keyboard.press("Space")
    assert methods(page)[:3] == ["m5", "m4", "m3"]


def test_the_filters_hide_rows_of_tables_and_their_pictures(page: Page) -> None:
    page.get_by_label("Show").select_option(index=1)
    box = page.get_by_role("searchbox")
    box.fill("METHOD.x digits")
    assert methods(page) == ["Generative"]
    assert page.locator(".filtered figure:visible").all_inner_texts() == [f"Generative only ({NASTY}), digits"]
    assert page.locator("output").inner_text() == "1 of 11 rows"
    box.fill("atjem")
    assert methods(page) == ["AT-JEM"], "the name that one types finds its title"
    box.fill("")
    page.get_by_label("Pareto front").check()
    assert methods(page) == ["AT-JEM", "JEM"]
    page.get_by_label("Pareto front").uncheck()
    assert page.get_by_role("rowheader", name="RATIO").first.is_visible()
    page.get_by_role("checkbox", name="ranked").check()
    assert not page.get_by_role("rowheader", name="RATIO").first.is_visible()
    assert not page.get_by_text("Not ranked").first.is_visible(), "no empty table"


def test_one_dataset_and_protocol_can_be_chosen_and_its_label_stands_by_its_numbers(page: Page) -> None:
    page.get_by_label("Show").select_option(index=2)
    assert page.locator("section:visible h2").all_inner_texts() == [
        "digits, protocol quick-1 (hash 45): for trying out"
    ]
    assert "for trying out" in page.locator("section:visible caption").first.inner_text()


def test_a_grid_of_samples_is_seen_and_enlarges_until_escape(page: Page) -> None:
    button = page.get_by_role("button", name="Samples of AT-JEM (DAT)")
    assert button.locator("img").evaluate("image => image.complete && image.naturalWidth") == 40
    small = button.bounding_box()
    button.focus()
    page.keyboard.press("Enter")
    large = page.locator("dialog img").bounding_box()
    assert small and large and large["width"] > 2 * small["width"]
    assert page.locator("dialog").inner_text().startswith("Samples of AT-JEM (DAT)")
    shot(page, "leaderboard-enlarged")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_figures_follow_the_filters_and_enlarge(page: Page) -> None:
    part = page.locator("section").first
    # Which series a figure shows: in its legend and in its axes alike, or as a panel of its own.
    shown = (
        "figure => [...new Set([...figure.querySelectorAll('[data-label]:not([hidden])')].map(g => g.dataset.label))]"
    )
    figures = part.locator(".drawn")
    tradeoff = figures.filter(has_text="Robust accuracy against FD;")
    assert {"AT-JEM (DAT)", "JEM", "AT", "m5"} <= set(tradeoff.evaluate(shown))
    assert tradeoff.locator("[data-label=AT]:visible").count() > 2, "a marker, its bars and an entry of the legend"
    page.get_by_role("button", name="AT", exact=True).click()
    assert tradeoff.evaluate(shown) == ["AT"]
    assert tradeoff.locator("[data-label=JEM]:visible").count() == 0
    training = figures.filter(has_text="Training: means")
    assert training.evaluate(shown) == ["AT"]
    # It is enlarged as it is filtered; without any of its series it is hidden.
    training.get_by_role("button").click()
    large = page.locator("dialog svg").bounding_box()
    assert large and large["width"] > 800
    assert page.locator("dialog [data-label=JEM]:visible").count() == 0
    assert page.locator("dialog").inner_text().startswith("Training: means of what was logged")
    shot(page, "leaderboard-figure")
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("nobody's method")
    assert part.locator(".drawn:visible").count() == 0


def test_what_others_published_stands_in_a_block_of_its_own_that_nothing_ranks(page: Page) -> None:
    assert page.locator("details.folded").count() > 2 and page.locator("details.folded table:visible").count() == 0
    page.get_by_label("Show").select_option(label="Published, not run here: cifar10")
    assert "published, not run here" in page.locator("section:visible caption").first.inner_text()
    assert page.locator("section:visible tbody tr").count() > 20
    assert page.locator("section:visible thead button").count() == 0
    page.get_by_role("checkbox", name="ranked").check()
    assert page.locator("section:visible tbody tr:visible").count() == 0


def test_a_dagger_leads_to_its_reason(page: Page) -> None:
    page.get_by_role("link", name="doubtful").first.click()
    target = address_of(page).partition("#")[2]
    assert "few restarts" in page.locator(f"#{target} + ul").inner_text()


def test_nothing_is_asked_for_nothing_complained_of_and_no_text_is_run(page: Page) -> None:
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.reload()
    page.get_by_label("Filter").fill("at")
    asked = {url.split("#")[0] for url in page.asked if not url.startswith("data:")}  # type: ignore[attr-defined]
    assert asked == {address_of(page).split("#")[0]}
    assert (
        page.evaluate("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0
    )
    assert page.said == [] and alerts == []  # type: ignore[attr-defined]
    refused = "fetch('https://example.org').then(() => 'answered', () => 'refused')"
    assert page.evaluate(refused) == "refused", "even if a script was injected"
    assert "example.org" not in str(page.asked)  # type: ignore[attr-defined]


def test_the_page_of_a_run_shows_its_scores_and_curves(page: Page) -> None:
    page.get_by_text("2 runs").first.click()
    page.get_by_role("link", name="atjem-digits-s1-f").first.click()
    assert page.get_by_role("heading", level=1).inner_text() == "atjem-digits-s1-f"
    assert page.get_by_role("row", name="Robust accuracy").inner_text().split("\t")[1] == "81 %"
    chart = page.get_by_role("img", name="joint/ce over images seen")
    line = chart.locator("polyline").bounding_box()
    assert line and line["width"] > 200 and line["height"] > 50
    chart.focus()
    for key in ("ArrowLeft", "ArrowLeft", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("output").first.inner_text() == "0.005013 at 51,072 images", "the last point"
    chart.hover(position={"x": 60, "y": 20})
    value, _, images, _ = page.locator("output").first.inner_text().split()
    assert 500 < float(images) < 2000 and float(value) == pytest.approx(2 / (float(images) / 128), rel=1e-3)
    page.get_by_role("button", name="Enlarge joint/ce").click()
    large = page.locator("dialog polyline").bounding_box()
    assert large and large["width"] > 2 * line["width"]
    page.keyboard.press("Escape")
    until(page, "document.querySelector('.charts figure').textContent.includes('joint/ce')")
    shot(page, "run", whole=True)
    page.get_by_role("link", name="Leaderboard").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Leaderboard"


@pytest.fixture
def phone(page: Page) -> Iterator[Page]:
    """The page on a phone's narrow screen in dark mode."""
    assert page.context.browser
    small = page.context.browser.new_page(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, color_scheme="dark"
    )
    yield small
    small.close()


@pytest.mark.parametrize("name", ["leaderboard", "runs/atjem-digits-s1-f"])
def test_on_a_phone_the_page_does_not_scroll_sideways_and_is_legible(phone: Page, folder: Path, name: str) -> None:
    phone.goto(f"file://{folder}/{name}.html")
    for details in phone.locator("details").all():
        details.locator("summary").first.click()
    assert phone.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    sizes = "[...document.body.querySelectorAll('*')].map(one => parseFloat(getComputedStyle(one).fontSize))"
    assert min(phone.evaluate(sizes)) >= 12
    assert phone.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    shot(phone, f"phone-{Path(name).name}")


def test_on_a_phone_the_first_column_stays_where_the_table_scrolls(phone: Page, folder: Path) -> None:
    phone.goto(f"file://{folder}/leaderboard.html")
    box, name = phone.locator(".box").first, phone.locator("tbody th").first
    before = name.bounding_box()
    assert box.evaluate("box => (box.scrollLeft = 150, box.scrollLeft)") == 150
    assert name.bounding_box() == before
