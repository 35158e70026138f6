"""Tables as LaTeX with booktabs, for \\input in a paper."""

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan

from harness.core.text import one_line
from harness.reports.tables import Cell, Table

PREAMBLE = """\
% Made by `python -m harness report`; needs \\usepackage{booktabs, adjustbox}.
% What is cited stands in references.bib, beside this file: \\bibliography{references}.
"""

PAPER = PREAMBLE.replace("adjustbox}", "adjustbox, natbib}")

NARROW = 4
"""Columns of a table that still fit into one of two columns of a paper."""

FIGURE_SPACE = "\u2007"
"""A space as wide as a digit."""

PLAIN = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "×": r"$\times$"},
    **{"≥": r"$\geq$", "∞": r"$\infty$"},
    **{FIGURE_SPACE: r"\phantom{0}"},
    **{"–": "--", "·": r"$\cdot$", "†": r"$^\dagger$", "◆": r"$^\diamond$", "ε": r"$\epsilon$", "σ": r"$\sigma$"},
}
"""Characters with a special meaning in LaTeX, or unknown to older engines."""


def escape(text: str) -> str:
    """Escape a text for LaTeX; characters that LaTeX may not know become a ?, and ends of lines a space."""
    escaped = "".join(PLAIN.get(char, char) for char in one_line(text))
    escaped = re.sub(r"[^\x20-\x7e\xa0-\xff]", "?", escaped)
    return f"{{}}{escaped}" if escaped.startswith(("[", "*")) else escaped  # after \\ it would be an argument


def latex(tables: Sequence[tuple[str, Table]]) -> str:
    """Return the content of a file of tables, each below its caption."""
    return PREAMBLE + "".join(_table(caption, table) for caption, table in tables)


def for_paper(name: str, table: Table) -> str:
    """Return the content of a file of one table for a paper, labelled tab:NAME, whose numbers are right-aligned."""
    numeric = [any(not isnan(row[at].value) for row in table.rows) for at in range(len(table.headers))]
    columns = "".join("r" if number else "l" for number in numeric)
    # What is too wide for a column of two takes the whole width of the page, where the paper has two columns.
    place = "table*" if len(columns) > NARROW else "table"
    body = _body(_aligned(table), _cell_of_paper, columns)
    return PAPER + _float(table.title, table.note, body, rf"\label{{tab:{name}}}", place)


def _table(caption: str, table: Table) -> str:
    title = ": ".join(filter(None, [caption, table.title]))
    return _float(title, table.note, _body(table, _cell, "l" * len(table.headers)))


def _float(title: str, note: str, body: str, label: str = "", place: str = "table") -> str:
    """A table with its caption, shrunk to the width that there is if it is wider."""
    # Keep n = 360 in one line.
    caption = re.sub(r" (=|\$\\geq\$) ", r"~\1~", escape(" ".join(filter(None, [f"{title}.", note]))))
    lines = [
        rf"\begin{{{place}}}\centering\setlength{{\belowcaptionskip}}{{6pt}}",
        rf"\caption{{{caption}}}{label}",
        r"\begin{adjustbox}{max width=\linewidth}",
        f"{body}\\end{{adjustbox}}",
        rf"\end{{{place}}}",
    ]
    return "\n" + "\n".join(lines) + "\n"


def _aligned(table: Table) -> Table:
    """The table with spaces before short standard deviations, so that the points of all means are below each other."""
    rows = [[*row] for row in table.rows]
    for at in range(len(table.headers)):
        deviations = [row[at].text.partition(" ± ")[2] for row in rows]
        longest = max(map(len, deviations), default=0)
        for row, deviation in zip(rows, deviations, strict=True):
            text = row[at].text.removesuffix(deviation) + deviation.rjust(longest, FIGURE_SPACE)
            row[at] = replace(row[at], text=text) if deviation else row[at]
    return replace(table, rows=rows)


def _body(table: Table, show: Callable[[Cell], str], columns: str) -> str:
    # A header has its measure below its name, and its direction and unit in the last line.
    headers = [
        _stack([line for part in re.split(r" (?=[(↑↓])", header) for line in textwrap.wrap(part, 18)], column)
        for header, column in zip(table.headers, columns, strict=True)
    ]
    return (
        table.frame(show).set_axis(headers, axis="columns").to_latex(index=False, escape=False, column_format=columns)
    )


def _cell(cell: Cell) -> str:
    return _text(cell) + (rf"~\cite{{{cell.cite}}}" if cell.cite else "") + escape(cell.marks)


def _cell_of_paper(cell: Cell) -> str:
    """A cell whose mark takes no width, so that numbers end below each other."""
    cite = rf" \citep{{{cell.cite}}}" if cell.cite else ""
    return _text(cell) + cite + (rf"\rlap{{{escape(cell.marks)}}}" if cell.marks else "")


def _text(cell: Cell) -> str:
    text = _stack(textwrap.wrap(cell.text, 40), "l")
    return rf"\textbf{{{text}}}" if cell.best else text


def _stack(lines: Sequence[str], column: str) -> str:
    """Lines of a cell, aligned as their column is."""
    escaped = r"\\".join(map(escape, lines))
    return escaped if len(lines) < 2 else rf"\shortstack[{column}]{{{escaped}}}"
