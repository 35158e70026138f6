"""Any two scores can be plotted against each other; points follow the filter and tell whose they are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import browser, shot
from pages import NASTY, board
from playwright.sync_api import Locator, Page


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return board(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def plot(page: Page, folder: Path) -> Locator:
    page.goto("about:blank")
    page.goto(f"file://{folder}/leaderboard.html")
    return page.locator(".plot").first


def places(plot: Locator) -> dict[str, tuple[float, float]]:
    """Where the point of each series is drawn, by its name."""
    script = """found => found.map(one => {
        const circle = one.querySelector('circle:not(.halo)');
        return [one.ariaLabel.split(':')[0], [Number(circle.getAttribute('cx')), Number(circle.getAttribute('cy'))]];
    })"""
    return {name: tuple(at) for name, at in plot.locator(".point").evaluate_all(script)}


def test_the_better_end_is_right_and_up_and_what_is_not_ranked_is_not_drawn(plot: Locator) -> None:
    found = places(plot)
    assert set(found) == {"AT-JEM (DAT)", "AT", "JEM", *(f"m{number}" for number in range(6))}
    assert found["JEM"][0] > found["AT-JEM (DAT)"][0] > found["AT"][0] > found["m0"][0], (
        "a lower FD stands further right"
    )
    assert found["AT-JEM (DAT)"][1] < found["JEM"][1] < found["m5"][1] < found["AT"][1]
    front = [tuple(map(float, at.split(","))) for at in plot.locator(".front").get_attribute("points").split()]
    assert front == [pytest.approx(found[name]) for name in ("JEM", "AT-JEM (DAT)")]


def test_axes_are_chosen_from_the_scores_of_all_tables(plot: Locator) -> None:
    assert plot.locator("select").first.locator("optgroup").evaluate_all("found => found.map(one => one.label)") == [
        "Main scores",
        "OOD detection",
        "Cost of a run: training, its peak memory and its evaluation; means over seeds",
    ]
    before = places(plot)
    plot.get_by_role("combobox", name="against").select_option(label="Robust accuracy ↑ %")
    after = places(plot)
    assert after["AT-JEM (DAT)"][0] > after["JEM"][0] > after["AT"][0]
    assert {name: y for name, (_, y) in after.items()} == {name: y for name, (_, y) in before.items()}
    assert "Robust accuracy ↑ %  (better →)" in plot.locator(".axes text").all_text_contents()


def test_points_of_hidden_methods_fade_and_the_others_stay_where_they_are(page: Page, plot: Locator) -> None:
    before = places(plot)
    page.get_by_role("button", name="AT", exact=True).click()
    page.get_by_role("button", name="JEM", exact=True).click()
    assert places(plot) == {name: before[name] for name in ("AT", "JEM")}
    assert plot.locator(".faded").count() == 7


def test_a_point_tells_its_name_values_samples_and_runs(page: Page, plot: Locator) -> None:
    told = plot.locator(".told")
    plot.locator(".point[aria-label^=AT-JEM]").hover()
    lines = told.inner_text().split("\n")
    assert lines[0] == "AT-JEM (DAT)" and {"80.5 ± 0.7", "2.00 ± 0.00"} <= set(lines)
    assert told.locator("img").evaluate("image => image.naturalWidth") == 40
    assert told.get_by_role("link").all_inner_texts() == ["atjem-digits-s0-f", "atjem-digits-s1-f"]
    shot(page, "plot")
    told.get_by_role("link").first.click()
    assert page.get_by_role("heading", level=1).inner_text() == "atjem-digits-s0-f"


def test_the_keyboard_reaches_every_point_and_enlarges_the_plot(page: Page, plot: Locator) -> None:
    plot.get_by_role("button", name="Enlarge").focus()
    page.keyboard.press("Enter")
    assert page.locator("dialog svg").bounding_box()["width"] > 1000
    focused, reached = "document.activeElement.ariaLabel ?? ''", list[str]()
    for _ in range(5):
        page.keyboard.press("Tab")
        if "FD ↓" in page.evaluate(focused):
            break
    for _ in range(12):
        reached.append(page.evaluate(focused).split(":")[0])
        page.keyboard.press("ArrowRight")
    worst_first = [*(f"m{number}" for number in reversed(range(6))), "AT", "AT-JEM (DAT)", "JEM"]
    assert list(dict.fromkeys(reached)) == worst_first
    assert plot.locator(".told").inner_text().startswith("JEM"), "what is focused is told too"
    page.keyboard.press("Escape")
    page.locator("section .plot").wait_for()  # it is back in its place
    assert page.evaluate(focused) == "Enlarge the plot"


def test_names_of_records_are_shown_as_they_are(page: Page, plot: Locator) -> None:
    plot.get_by_role("combobox", name="Plot").select_option(label="FD ↓")
    plot.locator(".point[aria-label^=Generative]").hover()
    assert plot.locator(".told strong").inner_text() == f"Generative only ({NASTY})"
    assert page.locator("script").count() == 1
