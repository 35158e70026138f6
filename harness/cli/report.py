"""Write the leaderboard of all runs of a folder, as markdown, HTML, CSV and LaTeX, with figures.

For a paper, it also writes a table for each dataset and protocol to tables/, and figures to figures/column or
figures/page, if an argument below asks for them.
"""

from contextlib import suppress
from textwrap import fill
from typing import Annotated, Literal

from annotated_types import Ge
from rich import box
from rich.table import Column, Table

from harness.cli.request import Request
from harness.cli.tables import WIDE, console, relative, tell
from harness.core.settings import settings
from harness.reports import leaderboard
from harness.reports import tables as reported
from harness.reports.paper import FOLDER, Choice
from harness.reports.plots.style import Sheet

EXAMPLE = "columns=clean_accuracy,robust_accuracy,fd methods=atjem,at figure=column formats=pdf,svg"

SHOWN = ("method", "Clean accuracy", "Robust accuracy", ("FD", "FID"), "ECE", "OOD AUROC, attacked", "seeds", "state")
"""What the headers of the printed columns begin with; if several fit, the first is printed."""

NARROW = 9
"""Characters per line in the headers of number columns."""

LONGEST = 10
"""Characters of the longest word in the name of a method, which is not broken."""


@settings
class Arguments:
    """source: read the runs from their folders or from MLflow; the pages are the same.

    For a paper: columns: the scores to show, in this order, by their keys or the beginnings of keys. methods: the
    methods to show, in this order. of: the dataset. under: the protocol, by its id or hash (data= and protocol= compose
    the config of a run). With any of these four, the command writes tables. figure: draw figures as wide as a column or
    a page. formats: pdf, svg, png, or several.

    watch: seconds, such as 5, after which to look again whether a run has changed, and to write the pages again if one
    has, until Ctrl-C; the page in a browser then reloads itself as often.
    """

    source: Literal["folders", "mlflow"] = "folders"
    columns: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    of: str = ""
    under: str = ""
    figure: Literal["column", "page"] | None = None
    formats: tuple[Literal["pdf", "svg", "png"], ...] = ("pdf",)
    watch: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.figure is None and self.formats != Arguments.formats:
            raise ValueError("formats are those of figures for a paper: say how wide, figure=column or figure=page")
        if self.watch and self.source == "mlflow":
            raise ValueError("watch is for the folders of runs: leave out source=mlflow")


def run(request: Request) -> int:
    """Write the leaderboard and print its main columns, once or watching; return 3 if something could not be read."""
    asked: Arguments = request.arguments
    choice = Choice(asked.columns, asked.methods, asked.of, asked.under)
    choice = choice if choice != Choice() else None
    sheet = Sheet(asked.figure, asked.formats) if asked.figure else None
    if not asked.watch:
        return _show(leaderboard.write(request.config, asked.source, choice, sheet))
    # Write the pages whenever something changes; what could not be read last decides on the exit status.
    status = 0
    with suppress(KeyboardInterrupt):
        for report in leaderboard.watch(request.config, asked.watch, choice, sheet):
            status = _show(report)
            console.print(f"Looking for changes every {asked.watch} s; Ctrl-C ends it.")
    return status


def _show(report: leaderboard.Report) -> int:
    """Print the main columns and the paths of what was written; return 3 if something could not be read."""
    for section in report.sections:
        for table in section.main():
            console.print(_main_columns(table, section.heading))
    for path in (report.page, report.page.with_name("leaderboard.html"), *report.places):
        console.print(f"Written: {relative(path)}", soft_wrap=True)
    for name, line in ((paper.name, line) for paper in report.papers for line in paper.left_out):
        console.print(f"Not in {FOLDER}/{name}: {line}", soft_wrap=True)
    return tell(report.faults)


def _main_columns(table: reported.Table, heading: str) -> Table:
    """The main columns of a table of the leaderboard, for a terminal."""
    places = [
        next((at for at, header in enumerate(table.headers) if header.startswith(beginning)), None)
        for beginning in SHOWN
    ]
    # States are shown where they say something.
    rows = [row for row, _ in zip(table.rows, table.series, strict=False)]  # those of anchors come last, without series
    kept = [at for at in places if at is not None and {row[at].text for row in rows} != {"done"}]
    # Nothing is cut at 80 columns: headers and intervals take several lines, and only names and counts are wrapped.
    columns = [
        Column(header, min_width=LONGEST if header == "method" else 5, overflow="fold")
        if header in ("method", "seeds", "state")
        else Column(fill(header, NARROW), no_wrap=True)
        for header in (table.headers[at] for at in kept)
    ]
    shown = Table(*columns, title=table.title or heading, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    shown.padding = (0, 1, 0, 0)
    for row in rows:
        shown.add_row(*(_lines(row[at]) for at in kept))
    return shown


def _lines(cell: reported.Cell) -> str:
    """The text of a cell with its marks; an interval is a line of its own, or two on a narrow terminal."""
    value, _, interval = cell.text.partition(" [")
    first = f"{value} {cell.marks}".rstrip()
    interval = interval.replace(", ", ",\n") if console.width < WIDE else interval
    return f"{first}\n[{interval}" if interval else first
