"""Tables as LaTeX with booktabs, for \\input in a paper."""

import re
from collections.abc import Sequence

from harness.core.text import one_line
from harness.reports.tables import Cell, Table

PREAMBLE = """\
% Made by `python -m harness report`; needs \\usepackage{booktabs, adjustbox}.
% What is cited stands in references.bib, beside this file: \\bibliography{references}.
"""

PLAIN = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": "$<$", ">": "$>$", "|": "$|$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "×": r"$\times$"},
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


def _table(caption: str, table: Table) -> str:
    headers = [escape(header) for header in table.headers]
    frame = table.frame(_cell).set_axis(headers, axis="columns")
    columns = "l" * len(headers)
    body = frame.to_latex(index=False, escape=False, column_format=columns)
    title = ": ".join(filter(None, [caption, table.title]))
    lines = [
        r"\begin{table}\centering",
        rf"\caption{{{escape(' '.join(filter(None, [f'{title}.', table.note])))}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        f"{body}\\end{{adjustbox}}",
        r"\end{table}",
    ]
    return "\n" + "\n".join(lines) + "\n"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    cite = rf"~\cite{{{cell.cite}}}" if cell.cite else ""
    return (rf"\textbf{{{text}}}" if cell.best else text) + cite + escape(cell.marks)
