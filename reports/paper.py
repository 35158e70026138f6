"""Tables for a paper: chosen scores and methods of a section of the leaderboard, as LaTeX, markdown and CSV."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple, TypeVar

from harness.core.errors import UserError, near
from harness.core.files import atomic_write, write_text
from harness.evaluation.score import Score
from harness.reports import titles
from harness.reports.csv_table import for_spreadsheets
from harness.reports.latex import for_paper
from harness.reports.section import Section
from harness.reports.stability import Study
from harness.reports.tables import Table

FOLDER = "tables"
"""The folder of these tables, in that of the reports."""

Part = TypeVar("Part", Section, Study)


@dataclass(frozen=True)
class Choice:
    """What a paper shows, in this order; what is empty chooses everything.

    columns: keys of scores, or beginnings that a single score has: of those in the main table, or else of all. methods:
    their names. of: a dataset. under: the id or the hash of a protocol.
    """

    columns: Sequence[str] = ()
    methods: Sequence[str] = ()
    of: str = ""
    under: str = ""

    def parts(self, parts: Sequence[Part]) -> list[Part]:
        """Return the sections or studies of the dataset under the protocol."""
        return [
            part
            for part in parts
            if self.of in ("", part.runs[0].data)
            and self.under in ("", part.runs[0].protocol.id, part.runs[0].protocol.hash)
        ]


class Paper(NamedTuple):
    """A table for a paper, the stem of its files, and which columns and rows are not in it, with the reason."""

    name: str
    table: Table
    left_out: list[str]


def papers(sections: Sequence[Section], choice: Choice) -> list[Paper]:
    """Return a table for each chosen section, some without rows; UserError if none has a row, or a thing chosen."""
    chosen = choice.parts(sections)
    if not chosen:
        raise UserError(_not_there(sections, choice))
    # What no table has is a mistake; what only some have is left out of the others.
    methods = {run.method for section in chosen for run in section.runs}
    for method in choice.methods:
        if method not in methods:
            raise UserError(f"No run is of the method '{method}'. {near(method, methods)}")
    scores = {key: score for section in chosen for key, score in section.scores.items()}
    for column in choice.columns:
        if scores and not _keys(scores, column):
            known = {key for key, score in scores.items() if not score.table} | {*get_close_matches(column, scores)}
            others = "Those of other tables stand above the columns of leaderboard.csv."
            raise UserError(f"There is no column '{column}'. {near(column, known)} {others}")
    made = [_paper(section, choice) for section in chosen]
    if not any(one.table.rows for one in made):
        lines = [
            f"{section.heading}: {line}" for section, one in zip(chosen, made, strict=True) for line in one.left_out
        ]
        raise UserError("\n".join(["No row is ready for a paper: all seeds must be done, and ranked.", *lines]))
    return made


def write(folder: Path, made: Iterable[Paper]) -> Iterator[Path]:
    """Write the tables that have a row, and the bibliography beside them; yield the path of each LaTeX file."""
    folder /= FOLDER
    for name, table, _ in made:
        if table.rows:
            write_text(folder / f"{name}.tex", for_paper(name, table))
            write_text(folder / f"{name}.md", table.markdown() + "\n")
            with atomic_write(folder / f"{name}.csv") as path:
                texts = table.frame(lambda cell: f"{cell.text} {cell.marks}".rstrip())
                for_spreadsheets(texts).to_csv(path, index=False, lineterminator="\n")
            yield folder / f"{name}.tex"
    write_text(folder / "references.bib", titles.BIBLIOGRAPHY.read_text(encoding="utf-8"))


def _paper(section: Section, choice: Choice) -> Paper:
    """The table of a section, and a line for each column and row that it lacks."""
    known = {run.method for run in section.runs}
    left = [f"{method}: no run" for method in choice.methods if method not in known]
    left += [
        f"{one.label}: {'not ranked' if one.barred else f'seeds done: {one.seeds}'}"
        for one in section.series
        if (one.barred or not one.finished) and one.runs[0].method in (choice.methods or known)
    ]
    keys: list[str] = []
    for column in choice.columns:
        found = _keys(section.scores, column)
        if len(found) > 1:
            raise UserError(f"{section.heading}: the column '{column}' may be {' or '.join(found)}. Type more of it.")
        keys += [key for key in found if key not in keys]
        left += [] if found else [f"{column}: no such score"]
    empty = choice.columns and not keys
    table = Table(section.heading, [], []) if empty else section.paper(keys, choice.methods)
    return Paper(section.name, table, left)


def _keys(scores: Mapping[str, Score], column: str) -> list[str]:
    """The keys that are, or begin with, what was typed; those of the main table come before all others."""
    if column in scores:
        return [column]
    found = [key for key in scores if column and key.startswith(column)]
    return [key for key in found if not scores[key].table] or found


def _not_there(sections: Sequence[Section], choice: Choice) -> str:
    """Say which dataset or protocol has no run."""
    if not sections:
        return "All runs are of a study, which has no table for a paper."
    data = {section.runs[0].data for section in sections}
    if choice.of and choice.of not in data:
        return f"No run is of the dataset '{choice.of}'. {near(choice.of, data)}"
    protocols = {section.runs[0].protocol.id for section in sections if choice.of in ("", section.runs[0].data)}
    where = f" of {choice.of}" if choice.of else ""
    return f"No run{where} is under the protocol '{choice.under}'. {near(choice.under, protocols)}"
