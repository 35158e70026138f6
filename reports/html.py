"""leaderboard.html: all tables on one page that can be sorted and filtered, with links to the pages of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from markupsafe import Markup

from harness.core.registry import files
from harness.reports import published
from harness.reports.plots.style import looks
from harness.reports.section import Section
from harness.reports.series import Series, said
from harness.reports.stability import Study
from harness.reports.tables import DOUBT, FRONT, Table
from harness.reports.titles import title
from harness.reports.webpage import pack, write_page
from harness.runs.folder import Fault

SAMPLES = 24
"""Maximum number of series whose sample grids are shown, best first: the page embeds the images."""

Figures = Sequence[tuple[str, Path]]
"""The caption of each figure, and the path of its PNG below the folder of the reports."""


@dataclass(frozen=True)
class Part:
    """A part of the page: one dataset and protocol, one study, or the published results on a dataset.

    label: a remark above its numbers. sortable: whether its numbers are comparable; if not, it is folded. labels: a
    label of its own for each series, by its key. front: the keys of the series on the Pareto front. colours: those of
    the series in figures, by their keys. samples: each series with its sample grid, a data URI. figures: the caption of
    each, and its SVG.
    """

    id: str
    title: str
    label: str = ""
    sortable: bool = True
    intro: str = ""
    main: Sequence[Table] = ()
    details: Sequence[Table] = ()
    daggers: Sequence[str] = ()
    footnotes: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    front: set[str] = field(default_factory=set)
    colours: Mapping[str, str] = field(default_factory=dict)
    samples: Sequence[tuple[Series, str]] = ()
    figures: Sequence[tuple[str, str]] = ()


def make_parts(
    folder: Path, sections: Sequence[Section], studies: Sequence[Study], drawn: Mapping[str, Figures]
) -> list[Part]:
    """Return the parts of the page; drawn: the figures of each section and study, by its name."""
    figures = {
        name: [
            (text, Markup((folder / path).with_suffix(".svg").read_text(encoding="utf-8")))
            for text, path in captioned
            if not path.name.startswith("samples-")  # the page shows each grid of samples by itself
        ]
        for name, captioned in drawn.items()
    }
    return [
        *(_section_part(section, figures[section.name]) for section in sections),
        *(_study_part(study, figures[study.name]) for study in studies),
        *(_published_part(data) for data in dict.fromkeys(result.data for result in published.everything())),
    ]


def write(folder: Path, parts: Sequence[Part], faults: Sequence[Fault], reload: int = 0) -> None:
    """Write the page; faults: what could not be read of the runs.

    reload: seconds after which the page reloads itself; 0 for never.
    """
    runs = [series.runs[0] for part in parts for table in part.main for series in table.series]
    write_page(
        folder / "leaderboard.html",
        "leaderboard.html",
        parts=parts,
        faults=[str(fault) for fault in faults],
        methods=files("method").keys(),
        chips=dict(sorted({run.method: title(run.method) for run in runs}.items(), key=lambda chip: chip[1].lower())),
        doubt=DOUBT,
        front=FRONT,
        reload=reload,
    )


def _section_part(section: Section, figures: Sequence[tuple[str, str]]) -> Part:
    packed = ((series, series.done[0].read("samples.png", pack)) for series in section.series if series.done)
    grids = islice(((series, picture) for series, picture in packed if picture), SAMPLES)
    return Part(
        id=section.name,
        title=section.heading,
        label=said(section.runs),
        main=section.main(),
        details=list(section.details()),
        daggers=section.daggers(),
        footnotes=section.footnotes(),
        labels=section.labels,
        front=section.front,
        colours=_colours(section.series),
        samples=list(grids),
        figures=figures,
    )


def _colours(series: Sequence[Series]) -> dict[str, str]:
    """The colour of each series in figures, by its key."""
    drawn = looks([one.runs[0].method for one in series])
    return {one.key: look.colour for one, look in zip(series, drawn, strict=True)}


def _study_part(study: Study, figures: Sequence[tuple[str, str]]) -> Part:
    return Part(
        id=study.name,
        title=study.heading,
        label=said(study.runs),
        intro=study.legend.replace("*", ""),
        main=[study.table()],
        footnotes=study.footnotes(),
        figures=figures,
    )


def _published_part(data: str) -> Part:
    results = published.of(data)
    return Part(
        id=f"published-{data}",
        title=f"{published.HEADING}: {data}",
        label=published.HEADING.lower(),
        sortable=False,
        intro=published.LEGEND,
        main=published.tables(results),
        footnotes=published.footnotes(results),
    )
