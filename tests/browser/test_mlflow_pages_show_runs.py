"""MLflow's pages show the runs: a table, four methods side by side, a curve, and samples over training."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import browser, shot
from mlflow_server import mlflow_server
from PIL import Image
from playwright.sync_api import Page, expect
from recorded import finish, log, make, robust

from harness import tracking

METHODS = {"at": 80.0, "atjem": 83.0, "trades": 79.0, "standard": 39.0}
"""The robust accuracy of each method; the runs differ by their seeds."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Page]]:
    """The URL of the runs in MLflow, and a browser page that shows it."""
    folder = tmp_path_factory.mktemp("pages")
    runs = []
    for method, accuracy in METHODS.items():
        plain = make(folder)
        run = make(folder, method={**plain.config.method, "name": "at"}, seed=len(runs), command=f"… method={method}")
        log(run, 50)
        glimpses = run.stage_runs[0].folder / "glimpses"
        glimpses.mkdir()
        for images in (0, 800, 1600):
            Image.new("L", (260, 104), 64 + images // 10).save(glimpses / f"{images:010d}.png")
        runs.append(finish(run, robust(accuracy, low=accuracy - 4, high=accuracy + 4)))
    assert all(tracking.push(run) for run in runs)
    with mlflow_server(folder, tracking.uri(runs[0].config)) as url, browser(1600, 1000) as page:
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        page.goto(f"{url}/#/experiments/1/runs")
        page.get_by_role("button", name="Close", exact=True).click()  # close MLflow's assistant permanently
        yield f"{url}/#/experiments/1", page


def opened(pages: tuple[str, Page], path: str) -> Page:
    """Open a page of the experiment."""
    url, page = pages
    page.goto("about:blank")
    page.goto(f"{url}/{path}{'&' if '?' in path else '?'}workflowType=machine_learning")
    return page


def test_the_table_of_runs(pages: tuple[str, Page]) -> None:
    page = opened(pages, "runs")
    for seed in range(len(METHODS)):
        expect(page.get_by_text(f"at-digits-s{seed}").first).to_be_visible()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
    shot(page, "mlflow-runs")


def test_four_methods_side_by_side_and_a_curve(pages: tuple[str, Page]) -> None:
    page = opened(pages, "runs?compareRunsMode=CHART")
    for title, drawn in (("robust_accuracy/l2_0.5", ".barlayer .point"), ("train/ce", ".scatterlayer .trace")):
        page.get_by_placeholder("Search metric charts").fill(title)
        card = page.get_by_test_id("experiment-view-compare-runs-card").first
        expect(card.get_by_text(title).first).to_be_visible()
        expect(card.locator(drawn).nth(len(METHODS) - 1)).to_be_attached()
        shot(page, f"mlflow-{Path(title).name}")


def test_a_grid_of_samples(pages: tuple[str, Page]) -> None:
    page = opened(pages, "runs?compareRunsMode=CHART")
    page.get_by_placeholder("Search metric charts").fill("train/samples")
    cards = page.get_by_test_id("experiment-view-compare-runs-card")
    card = cards.filter(has=page.get_by_role("heading", name="train/samples"))  # the search hides the others
    card.get_by_role("button").first.click()  # enlarge it: in the card, parameters cover the images
    image = page.get_by_role("dialog").locator("img").first
    expect(image).to_be_visible()
    assert image.evaluate("image => image.naturalWidth") > 100
    shot(page, "mlflow-samples")
