"""A page for each run: its scores with their warnings, pictures, curves, config, cost and origin."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from harness.core.files import valid_name
from harness.evaluation.score import Score
from harness.reports.recipe import Change, changes, learn
from harness.reports.sparklines import POINTS, charts
from harness.reports.titles import title
from harness.reports.webpage import embed, write_page
from harness.reports.workers import beside
from harness.runs.row import Row

PICTURES = {
    "samples": "Samples",
    "trajectory": "Walks of the sampler",
    "reliability": "Reliability diagram",
    "counterfactuals": "Counterfactuals",
}
"""The pictures in a run's folder, and their titles."""


@contextmanager
def pages(folder: Path, rows: Sequence[Row], apart: bool = False) -> Iterator[None]:
    """Write a page for each run into a folder, with links to the other seeds of its series, by the end of the body.

    apart: copies of this process write the pages during the body; only for rows whose files need no connection, which
    processes cannot share.
    """
    series: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        series[row.series].append(row)
    learn({(row.method, row.data) for row in rows})  # copies of this process inherit the recipes
    alike = list(series.values())

    def write(number: int) -> None:
        siblings = alike[number]
        config = _text(siblings[0], "config.yaml")
        differences = changes(config) if config else None  # a recipe has no seed
        for row in siblings:
            page(folder / f"{valid_name(row.name)}.html", row, siblings, differences)

    # Write in copies of this process during the body, or here after it.
    with beside(write, len(alike)) if apart else nullcontext():
        yield
        if not apart:
            for number in range(len(alike)):
                write(number)


def page(path: Path, row: Row, siblings: Sequence[Row], differences: Sequence[Change] | None) -> None:
    """Write the page of a run; siblings: the runs of its series, which share the differences from the recipe."""
    tables: dict[str, list[Score]] = defaultdict(list)
    for score in row.scores.values():
        tables[score.table].append(score)
    files = ((row.file(f"{name}.png"), text) for name, text in PICTURES.items())
    write_page(
        path,
        "run.html",
        row=row,
        method=title(row.method),
        siblings=siblings,
        tables=tables,
        failure=_text(row, "failure.md"),
        pictures=[(embed(picture), text) for picture, text in files if picture],
        charts=charts(_text(row, "metrics.jsonl")),
        points=POINTS,
        config=_text(row, "config.yaml"),
        changes=differences,
    )


def _text(row: Row, name: str) -> str:
    """Read a text file of the run's folder; empty if there is none."""
    path = row.file(name)
    return path.read_text(encoding="utf-8", errors="replace") if path else ""
