"""The leaderboard: an overview, a page for each dataset and protocol, and the same tables as CSV and LaTeX."""

import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from harness.core.files import atomic_write, write_text
from harness.core.text import markdown, markdown_line
from harness.reports import html, methodpage, paper, published, runpage, titles
from harness.reports.csv_table import for_spreadsheets, tidy
from harness.reports.figures import figures
from harness.reports.html import Figures
from harness.reports.latex import latex
from harness.reports.plots.style import Sheet, on_paper
from harness.reports.rows import find_rows
from harness.reports.section import Section
from harness.reports.series import judged
from harness.reports.stability import Study, studies
from harness.reports.tables import Table
from harness.runs.config import Config
from harness.runs.folder import Fault, has_record, readable, state
from harness.runs.row import Row
from harness.runs.run import Run, folders

MADE = "Made by `python -m harness report`; do not edit."

LEGEND = """\
↑ higher is better, ↓ lower is better. Bold: not significantly worse than the best of the column; the line below a \
table says how this is tested. ◆: on the Pareto front, where no other method is better in both robust accuracy and \
distance. Numbers are means over seeds ± the sample standard deviation (sd) over seeds, on the same test images; the \
page of details has the intervals over images or samples. For one seed, the number is its value, with a 95 % \
interval where there is one. Seeds: done / all; only runs that are done enter a number. †: doubtful; the page of \
details says why."""


class Report(NamedTuple):
    """What was written: the overview, its sections, what could not be read of the runs, and what is for a paper.

    parts: those of the page for a browser. papers: the tables for a paper. places: their LaTeX files, and the folder of
    the figures for a paper.
    """

    page: Path
    sections: list[Section]
    faults: list[Fault]
    parts: list[html.Part]
    papers: list[paper.Paper]
    places: list[Path]


def write(
    config: Config,
    source: str = "folders",
    choice: paper.Choice | None = None,
    sheet: Sheet | None = None,
    reload: int = 0,
) -> Report:
    """Write all pages; source: folders or mlflow, which give the same bytes.

    choice: also write tables for a paper; UserError, and nothing is written, if what it names is not there. sheet: also
    draw the figures for a paper. reload: seconds after which the page reloads itself in a browser; 0 for never.
    """
    folder, begun = Path(config.reports).absolute(), time.time_ns()
    with _without_collector():
        found, unread = find_rows(config, source)
        sections = make_sections(found)
        papers = paper.papers(sections, choice) if choice else []
        with runpage.pages(folder / "runs", found, begun if source == "folders" else None) as faults:
            overview, parts = _write(folder, found, sections)
            places = list(paper.write(folder, papers)) if papers else []
            places += _draw_for_paper(folder, found, sections, choice, sheet) if sheet else []
    # What could not be read is known when all other pages are written.
    faults = [*unread, *faults]
    html.write(folder, parts, faults, reload)
    write_text(folder / "LEADERBOARD.md", _join([*overview, *_unreadable(faults)]))
    return Report(folder / "LEADERBOARD.md", sections, faults, parts, papers, places)


def watch(
    config: Config, seconds: int, choice: paper.Choice | None = None, sheet: Sheet | None = None
) -> Iterator[Report]:
    """Write all pages as `write` does, and again whenever a run got a record or another state; yield each report.

    seconds: time between two looks at the folders, and between two reloads of the page in a browser. It goes on until
    Ctrl-C; then the page is written as one that no longer reloads itself.
    """
    report, seen = None, None
    try:
        while True:
            now = {folder: readable(folder, _mark) for folder in folders(Run(config).root)}
            if now != seen:
                report, seen = write(config, "folders", choice, sheet, seconds), now
                yield report
            time.sleep(seconds)
    finally:
        if report:
            html.write(report.page.parent, report.parts, report.faults)


def _mark(folder: Path) -> object:
    """What changes with the record of a run, or with its state as long as it has none."""
    return (folder / "record.json").lstat().st_mtime_ns if has_record(folder) else state(folder)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Turn off the garbage collector: with thousands of live rows it takes longer than reading them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _write(folder: Path, found: Sequence[Row], sections: list[Section]) -> tuple[list[str], list[html.Part]]:
    """Write all pages except those of runs and both overviews; return the parts of the overviews."""
    varied = studies(found)
    drawn = {section.name: list(figures(section, folder)) for section in sections}
    drawn |= {study.name: list(study.figures(folder)) for study in varied}
    for section in sections:
        write_text(folder / _page(section), _section_page(section, drawn[section.name]))
    for study in varied:
        write_text(folder / _page(study), _study_page(study, drawn[study.name]))
    methodpage.write(folder, found, sections)
    write_text(folder / "published.md", _published_page())
    write_text(folder / "leaderboard.tex", latex(_all_tables(sections, varied)))
    write_text(folder / "references.bib", titles.BIBLIOGRAPHY.read_text(encoding="utf-8"))
    with atomic_write(folder / "leaderboard.csv") as path:
        for_spreadsheets(tidy(found)).to_csv(path, index=False, lineterminator="\n")
    return _overview(sections, varied), html.make_parts(folder, sections, varied, drawn)


def _draw_for_paper(
    folder: Path, found: Sequence[Row], sections: list[Section], choice: paper.Choice | None, sheet: Sheet
) -> list[Path]:
    """Draw the figures of the chosen sections and studies for a paper; return their folder, if there are any."""
    chosen = choice or paper.Choice()
    with on_paper(sheet):
        drawn = [figure for section in chosen.parts(sections) for figure in figures(section, folder)]
        drawn += [figure for study in chosen.parts(studies(found)) for figure in study.figures(folder)]
    return sorted({file.parent for _, path in drawn for file in sheet.files(folder / path)})


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
        links = [
            f"[{markdown(titles.title(method))}]({methodpage.address(method, 'md')})"
            for method in methodpage.having(section.runs)
        ]
        parts += [f"[Details, intervals, cost, footnotes and figures]({_page(section)})"]
        parts += [f"Methods: {', '.join(links)}"] if links else []
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
    return [f"# {markdown(of.heading)}", f"The main table is in the [leaderboard](../LEADERBOARD.md). {MADE}"]


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
