"""A page for each run: its scores with their warnings, pictures, curves, config, cost and origin."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.core.files import valid_name
from harness.core.reading import LARGEST_CONFIG, text
from harness.evaluation.score import Score
from harness.reports.made import Made, digest
from harness.reports.recipe import Change, changes, learn, recipe
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

SETTLED = 2
"""Seconds after which a file that changes again has another time, on any file system."""

Stamps = list[tuple[str, int, int, int, int]]
"""Name, size, inode and both times of each file in a folder: what changes whenever a file does."""


@contextmanager
def pages(folder: Path, rows: Sequence[Row], begun: int | None = None) -> Iterator[list[Fault]]:
    """Write a page for each run into a folder, with links to the other seeds of its series, by the end of the body.

    Yields a list, which names the files of runs that could not be read after the body. begun: when the rows began to be
    read from their folders, in ns since the epoch. Then copies of this process write the pages during the body, but for
    those that an earlier report made from the same; None for rows whose files need a connection, which processes cannot
    share.
    """
    series: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        series[row.series].append(row)
    learn({(row.method, row.data) for row in rows})  # copies of this process inherit the recipes
    # Leave out the series whose pages are there.
    keys = {_file(row): made_from(row, series[row.series], begun) for row in rows} if begun else {}
    made = Made(folder)
    alike = [runs for runs in series.values() if not all(made.holds(_file(run), keys.get(_file(run))) for run in runs)]

    def write(number: int) -> list[Fault]:
        siblings = alike[number]
        differences = siblings[0].read("config.yaml", changes, LARGEST_CONFIG)  # a recipe has no seed
        for row in siblings:
            page(folder / _file(row), row, siblings, differences)
        return [fault for row in siblings for fault in row.faults.values()]

    # Write in copies of this process during the body, or here after it.
    faults: list[Fault] = []
    if begun:
        with beside(write, len(alike)) as results:
            yield faults
    else:
        yield faults
        results = [write(number) for number in range(len(alike))]
    # A copy does not see what this process met.
    known = [fault for row in rows for fault in row.faults.values()]
    faults += sorted({*known, *(fault for found in results for fault in found)})
    # What could not be read is looked at again next time.
    bad = {fault.name for fault in faults}
    made.note({name: key for row in rows if row.name not in bad and (key := keys.get(name := _file(row)))})


def _file(row: Row) -> str:
    return f"{valid_name(row.name)}.html"


def made_from(row: Row, siblings: Sequence[Row], begun: int) -> str | None:
    """Digest of all that the page of a run is made from: nothing that changes it leaves the digest as it is.

    These are the files of its folder and of its first sibling's, whose config the page shows, what the row knows from
    elsewhere, the recipe, and the code. begun: when the rows began to be read, in ns since the epoch; None if a file
    changed since then, or so shortly before that another change might not show.
    """
    folders = [folder for one in (row, siblings[0]) if (file := one.find("config.yaml")) and (folder := file.parent)]
    stamps = [_stamps(folder) for folder in dict.fromkeys(folders)]
    newest = max((stamp[-1] for files in stamps for stamp in files), default=0)
    if newest > begun - SETTLED * 10**9:
        return None
    known = [row.state, row.doubts, row.imported, row.verified, [(one.name, one.seed) for one in siblings]]
    return digest(json.dumps([stamps, known, title(row.method), recipe(row.method, row.data)], default=str))


def _stamps(folder: Path) -> Stamps:
    """The stamps of a folder's files, by name; without those whose links lead nowhere."""
    stamps: Stamps = []
    for entry in os.scandir(folder):
        with suppress(OSError):
            about = entry.stat()
            stamps.append((entry.name, about.st_size, about.st_ino, about.st_mtime_ns, about.st_ctime_ns))
    return sorted(stamps)


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
