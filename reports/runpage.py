"""A page for each run: its scores with their warnings, pictures, curves, config, cost and origin."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.core.files import valid_name
from harness.core.reading import LARGEST_CONFIG, text
from harness.evaluation.score import Score
from harness.reports.recipe import Change, changes, learn
from harness.reports.sparklines import POINTS, charts
from harness.reports.titles import title
from harness.reports.webpage import embed, write_page
from harness.reports.workers import beside
from harness.runs.folder import Fault
from harness.runs.row import Row

PICTURES = {
    "samples": "Samples",
    "nearest": "Samples that look most like copies, above their nearest training images",
    "long_chains": "Samples of longer chains",
    "trajectory": "Walks of the sampler",
    "reliability": "Reliability diagram",
    "counterfactuals": "Counterfactuals",
}
"""The pictures in a run's folder, and their titles."""


@contextmanager
def pages(folder: Path, rows: Sequence[Row], apart: bool = False) -> Iterator[list[Fault]]:
    """Write a page for each run into a folder, with links to the other seeds of its series, by the end of the body.

    Yields a list, which names the files of runs that could not be read after the body. apart: copies of this process
    write the pages during the body; only for rows whose files need no connection, which processes cannot share.
    """
    series: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        series[row.series].append(row)
    learn({(row.method, row.data) for row in rows})  # copies of this process inherit the recipes
    alike = list(series.values())

    def write(number: int) -> list[Fault]:
        siblings = alike[number]
        differences = siblings[0].read("config.yaml", changes, LARGEST_CONFIG)  # a recipe has no seed
        for row in siblings:
            page(folder / f"{valid_name(row.name)}.html", row, siblings, differences)
        return [fault for row in siblings for fault in row.faults.values()]

    # Write in copies of this process during the body, or here after it.
    faults: list[Fault] = []
    if apart:
        with beside(write, len(alike)) as results:
            yield faults
    else:
        yield faults
        results = [write(number) for number in range(len(alike))]
    # A copy does not see what this process met.
    known = [fault for row in rows for fault in row.faults.values()]
    faults += sorted({*known, *(fault for found in results for fault in found)})


def page(path: Path, row: Row, siblings: Sequence[Row], differences: Sequence[Change] | None) -> None:
    """Write the page of a run; siblings: the runs of its series, which share the differences from the recipe."""
    tables: dict[str, list[Score]] = defaultdict(list)
    for score in row.scores.values():
        tables[score.table].append(score)
    pictures = [(row.read(f"{name}.png", embed), caption) for name, caption in PICTURES.items()]
    write_page(
        path,
        "run.html",
        row=row,
        method=title(row.method),
        siblings=siblings,
        tables=tables,
        failure=row.read("failure.md", text, LARGEST_CONFIG) or "",
        pictures=[(picture, caption) for picture, caption in pictures if picture],
        charts=row.read("metrics.jsonl", charts) or [],
        points=POINTS,
        config=row.read("config.yaml", text, LARGEST_CONFIG) or "",
        changes=differences,
    )
