"""A table of a report as plain data, which markdown, LaTeX and HTML format in different ways."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import nan

import pandas as pd

from harness.core.text import markdown, markdown_line
from harness.reports.series import Series

FRONT, DOUBT = "◆", "†"
"""Marks: FRONT, on the Pareto front of robust accuracy and distance; DOUBT, a doubtful number, see its footnote."""


@dataclass(frozen=True)
class Cell:
    """The text of a cell, and the number for sorting.

    best: whether it is not significantly worse than the best of its column. cite: the BibTeX key of what it names, for
    LaTeX.
    """

    text: str
    value: float = nan
    best: bool = False
    marks: str = ""
    cite: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells below their headers; title: empty for a main table; series: those of the rows, if any."""

    title: str
    headers: list[str]
    rows: list[list[Cell]]
    note: str = ""
    series: list[Series] = field(default_factory=list)

    def frame(self, show: Callable[[Cell], str]) -> pd.DataFrame:
        """Return the table as a data frame of texts."""
        return pd.DataFrame([[show(cell) for cell in row] for row in self.rows], columns=pd.Index(self.headers))

    def markdown(self) -> str:
        """Return the table in markdown, with its title and its note."""
        frame = self.frame(_markdown).set_axis([markdown(header) for header in self.headers], axis="columns")
        body = frame.to_markdown(index=False, disable_numparse=True)
        title = self.title and f"**{markdown(self.title)}**"
        return "\n\n".join(filter(None, [title, body, markdown_line(self.note)]))


def _markdown(cell: Cell) -> str:
    text = markdown(cell.text)
    text = f"**{text}**" if cell.best else text
    return " ".join(filter(None, [text, cell.marks]))
