"""The leaderboard: an overview, a page for each dataset and protocol, and the same tables as CSV and LaTeX."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.core.files import atomic_write, write_text
from harness.core.text import markdown, markdown_line
from harness.reports import html, published, runpage, titles
from harness.reports.csv_table import tidy
from harness.reports.figures import figures
from harness.reports.html import Figures
from harness.reports.latex import latex
from harness.reports.rows import find_rows
from harness.reports.section import Section
from harness.reports.series import judged
from harness.reports.stability import Study, studies
from harness.reports.tables import Table
from harness.runs.config import Config
from harness.runs.folder import Fault
from harness.runs.row import Row

MADE = "Made by `python -m harness report`; do not edit."

LEGEND = """\
↑ higher is better, ↓ lower is better; bold is what is not significantly worse than the best of its column, as the \
line below a table says. ◆ stands on the Pareto front: no other is better in robust accuracy and distance at once. A \
number is the mean over seeds ± their sample standard deviation (sd), which is the scatter over seeds on the same test \
images; that over images or samples stands on the page of details. Of a single seed it is the value, with its 95 % \
interval where there is one. Seeds are counted as done of all; only those that are done enter a number. Why one with † \
is doubtful stands on the page of details too."""


class Report(NamedTuple):
    """What was written: the overview, and what could not be read of the runs."""

    page: Path
    faults: list[Fault]


def write(config: Config, source: str = "folders") -> Report:
    """Write all pages; source: folders or mlflow, which give the same bytes."""
    folder = Path(config.reports).absolute()
    with _without_collector():
        found, unread = find_rows(config, source)
        with runpage.pages(folder / "runs", found, apart=source == "folders") as faults:
            overview, parts = _write(folder, found)
    # What could not be read is known when all other pages are written.
    faults = [*unread, *faults]
    html.write(folder, parts, faults)
    write_text(folder / "LEADERBOARD.md", _join([*overview, *_unreadable(faults)]))
    return Report(folder / "LEADERBOARD.md", faults)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Turn off the garbage collector: with thousands of live rows it takes longer than reading them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _write(folder: Path, found: Sequence[Row]) -> tuple[list[str], list[html.Part]]:
    """Write all pages except those of runs and both overviews; return the parts of the overviews."""
    sections, varied = make_sections(found), studies(found)
    drawn = {section.name: list(figures(section, folder)) for section in sections}
    drawn |= {study.name: list(study.figures(folder)) for study in varied}
    for section in sections:
        write_text(folder / _page(section), _section_page(section, drawn[section.name]))
    for study in varied:
        write_text(folder / _page(study), _study_page(study, drawn[study.name]))
    write_text(folder / "published.md", _published_page())
    write_text(folder / "leaderboard.tex", latex(_all_tables(sections, varied)))
    write_text(folder / "references.bib", titles.BIBLIOGRAPHY.read_text(encoding="utf-8"))
    with atomic_write(folder / "leaderboard.csv") as path:
        tidy(found).to_csv(path, index=False, lineterminator="\n")
    return _overview(sections, varied), html.make_parts(folder, sections, varied, drawn)


def make_sections(found: Sequence[Row]) -> list[Section]:
    """Return a section for each dataset and protocol, of the runs that are in no study."""
    outside = [row for row in found if not row.study]
    alike = {same: [row for row in outside if judged(row) == same] for same in sorted({judged(row) for row in outside})}
    return [Section(runs) for runs in alike.values()]


def _page(of: Section | Study) -> Path:
    return Path("pages") / f"{of.name}.md"


def _all_tables(sections: list[Section], varied: list[Study]) -> list[tuple[str, Table]]:
    main = [(section.heading, table) for section in sections for table in section.main()]
    return main + [(study.heading, study.table()) for study in varied]


def _overview(sections: list[Section], varied: list[Study]) -> list[str]:
    """The parts of the overview: the main tables, each with a link to its details."""
    parts = ["# Leaderboard", MADE, LEGEND]
    for section in sections:
        parts += [f"## {markdown(section.heading)}", *(table.markdown() for table in section.main())]
        parts += [f"[Details, intervals, cost, footnotes and figures]({_page(section)})"]
    for study in varied:
        parts += [
            f"## {markdown(study.heading)}",
            study.legend,
            study.table().markdown(),
            f"[Footnotes and figure]({_page(study)})",
        ]
    parts += [f"## {published.HEADING}", "[What others report on CIFAR-10, CIFAR-100 and ImageNet](published.md)"]
    return parts


def _unreadable(faults: Sequence[Fault]) -> list[str]:
    """A section that names what could not be read of the runs."""
    return ["## Not readable", _bullets(map(str, faults))] if faults else []


def _section_page(section: Section, drawn: Figures) -> str:
    """The page of a section: everything that the overview leaves out."""
    parts = [*_top(section), *(table.markdown() for table in section.details())]
    parts += [_bullets([*section.daggers(), *section.footnotes()]), *_images(drawn)]
    if others := published.of(section.runs[0].data):
        parts += [f"## {published.HEADING}", *_block(others)]
    return _join(parts)


def _study_page(study: Study, drawn: Figures) -> str:
    """The page of a study: everything that the overview leaves out."""
    return _join([*_top(study), _bullets(study.footnotes()), *_images(drawn)])


def _top(of: Section | Study) -> list[str]:
    return [f"# {markdown(of.heading)}", f"The main table stands in the [leaderboard](../LEADERBOARD.md). {MADE}"]


def _published_page() -> str:
    parts = [f"# {published.HEADING}", MADE]
    for data in published.datasets():
        parts += [f"## {markdown(data)}", *_block(published.of(data))]
    return _join(parts)


def _block(found: list[published.Published]) -> list[str]:
    tables = [table.markdown() for table in published.tables(found)]
    return [published.LEGEND, *tables, _bullets(published.footnotes(found))]


def _images(drawn: Figures) -> list[str]:
    round_ones = str.maketrans("[]", "()")  # brackets would end the caption
    return [f"![{markdown(text.translate(round_ones))}](../{path})" for text, path in drawn]


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {markdown_line(line)}" for line in lines)


def _join(parts: Iterable[str]) -> str:
    return "\n\n".join(filter(None, parts)) + "\n"
