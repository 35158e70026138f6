"""The sections of stability studies: how many runs stayed sound, by method and varied factor."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from statistics import fmean

import yaml

from harness.core.errors import UserError, near
from harness.core.registry import build, files
from harness.evaluation.intervals import share
from harness.evaluation.score import Score
from harness.reports import titles
from harness.reports.columns import NONE
from harness.reports.plots.maps import FATES, Map, maps
from harness.reports.plots.style import MOST, told
from harness.reports.series import barred, judged, label, origin, page_name, said, title
from harness.reports.tables import Cell, Table
from harness.runs.row import Row

LEGEND = """\
Each method was trained at all values of the factors, of which 1 is its recipe's. A run is *diverged* where a loss or \
a weight left its bounds; *collapsed to chance* where it came to its end with a clean accuracy below {least:g} %, \
twice that of guessing; else it is *sound*. Survive is the share of sound runs, with its 95 % interval (Wilson), as if \
the runs were independent. Accuracy is the mean clean accuracy of the sound runs, and the lowest of them. A cell of \
the map tells how many of its runs are sound, of all that are over."""

ENDED = " Collapsed too are runs whose training was ended because their validation accuracy stayed at chance."


def studies(rows: Sequence[Row]) -> list["Study"]:
    """Return a study for each dataset, protocol and set of factors."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.study:
            groups[(*judged(row), *sorted(row.study))].append(row)
    return [Study(runs, chance(runs[0].data)) for _, runs in sorted(groups.items())]


def check_outcome(row: Row) -> None:
    """UserError if a run of a study has no outcome: its dataset is unknown, or it is done without clean accuracy."""
    chance(row.data)
    if row.state == "done" and "clean_accuracy" not in row.scores:
        raise UserError("a run of a study needs the score clean_accuracy")


@cache
def chance(data: str) -> float:
    """Return the clean accuracy, in %, of guessing on a dataset; UserError if there is no such dataset."""
    datasets = files("data")
    if data not in datasets:
        raise UserError(f"There is no dataset called '{data}'. {near(data, datasets)}")
    content = yaml.safe_load(datasets[data].read_text(encoding="utf-8"))
    return 100 / len(build("data", {**content["data"], "name": data}).classes)


def place(run: Row) -> tuple[float, ...]:
    """Return a run's values of the factors, sorted by name."""
    return tuple(float(value) for _, value in sorted(run.study.items()))


@dataclass(frozen=True)
class Arm:
    """The runs of one method; a finished run with a clean accuracy below `least`, in %, has collapsed."""

    runs: list[Row]
    least: float

    @property
    def label(self) -> str:
        """The title of the method, and the changes to the study's recipe."""
        return label(self.runs[0])

    def fate(self, run: Row) -> str | None:
        """Return the outcome of a run: sound, collapsed or diverged; None if it has not come to one."""
        if run.state != "done":
            return run.state if run.state in FATES else None
        return "sound" if run.scores["clean_accuracy"].value >= self.least else "collapsed"

    @cached_property
    def cells(self) -> dict[tuple[float, ...], Counter[str]]:
        """Number of runs of each outcome, by the values of the factors."""
        counts: dict[tuple[float, ...], Counter[str]] = defaultdict(Counter)
        for run in self.runs:
            if fate := self.fate(run):
                counts[place(run)][fate] += 1
        return counts

    @cached_property
    def fates(self) -> Counter[str]:
        """Number of runs of each outcome."""
        return sum(self.cells.values(), Counter())

    @cached_property
    def survival(self) -> Score | None:
        """Share of sound runs with its interval; None if no run is over."""
        sound, over = self.fates["sound"], self.fates.total()
        return share("Survive", "1" * sound + "0" * (over - sound)) if over else None

    def row(self) -> list[Cell]:
        """Return the row of the table."""
        sound = [run.scores["clean_accuracy"].value for run in self.runs if self.fate(run) == "sound"]
        score, over = self.survival, self.fates.total()
        return [
            Cell(self.label, cite=titles.cite(self.runs[0].method)),
            Cell(f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]", score.value) if score else NONE,
            *(Cell(f"{self.fates[fate]}/{over}", self.fates[fate]) for fate in FATES),
            Cell(f"{fmean(sound):.1f} ({min(sound):.1f})", fmean(sound)) if sound else NONE,
        ]


@dataclass(frozen=True)
class Study:
    """The runs of all methods; chance: the clean accuracy, in %, of guessing."""

    runs: list[Row]
    chance: float

    @cached_property
    def arms(self) -> list[Arm]:
        """The methods: most stable first, then those of which no run is over, then those that are not ranked."""
        groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for run in self.runs:
            groups[run.method, run.overrides].append(run)
        arms = [Arm(runs, 2 * self.chance) for _, runs in sorted(groups.items())]
        return sorted(arms, key=lambda arm: (barred(arm.runs), -arm.survival.value if arm.survival else 1))

    @property
    def factors(self) -> list[str]:
        """Names of the varied factors."""
        return sorted(self.runs[0].study)

    @property
    def name(self) -> str:
        """Stem of the names of its files."""
        return page_name(self.runs[0])

    @property
    def heading(self) -> str:
        """Dataset and protocol, the varied factors, and the remark on the numbers, if any."""
        by = f"Stability: {title(self.runs[0])}, by {' and '.join(self.factors)}"
        return ": ".join(filter(None, [by, said(self.runs)]))

    @property
    def legend(self) -> str:
        """How to read the table."""
        ended = ENDED if any(run.state == "collapsed" for run in self.runs) else ""
        return LEGEND.format(least=2 * self.chance) + ended

    def table(self) -> Table:
        """Return the table of outcomes, a row for each method."""
        fates = [fate.title for fate in FATES.values()]
        headers = ["method", "Survive ↑ %", *fates, "Accuracy ↑ % (lowest)"]
        return Table("", headers, [arm.row() for arm in self.arms])

    def figures(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """Draw the map if there are two factors; yield its caption and its path below the folder."""
        if len(self.factors) == 2:
            path = Path("figures") / f"{self.name}.png"
            panels = [Map(arm.label, arm.cells) for arm in self.arms[:MOST]]
            maps(folder / path, panels, self.factors, told(said(self.runs), of=len(self.arms)))
            yield f"What became of the runs of each method, by {' and '.join(self.factors)}", path

    def footnotes(self) -> list[str]:
        """Return notes on missing runs, on choices and their criteria, and on deviations from published settings."""
        expected = len({(*place(run), run.seed) for run in self.runs})
        missing = [(arm.label, expected - arm.fates.total()) for arm in self.arms]
        notes = [
            f"{name}: {n} of {expected} runs are missing or not over; its share does not compare"
            for name, n in missing
            if n
        ]
        return notes + list(dict.fromkeys(note for arm in self.arms for run in arm.runs for note in origin(run)))
