"""The sections of studies: which runs stayed sound, by method and by the factors that were varied."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import yaml

from harness.core.registry import build, configs
from harness.evaluation.intervals import share
from harness.evaluation.score import Score
from harness.reports.columns import NONE
from harness.reports.plots.maps import FATES, Map, maps
from harness.reports.plots.style import MOST, told
from harness.reports.series import barred, judged, label, origin, said, title
from harness.reports.tables import Cell, Table
from harness.runs.row import Row

LEGEND = """\
Each method was trained at all values of the factors, of which 1 is its recipe's. A run is *diverged* where a loss or \
a weight left its bounds; *collapsed to chance* where it came to its end with a clean accuracy below {least:g} %, \
twice that of guessing; else it is *sound*. Survive is the share of sound runs, with its 95 % interval (Wilson), as if \
the runs were independent. Accuracy is the mean clean accuracy of the sound runs, and the lowest of them. A cell of \
the map tells how many of its runs are sound, of all that are over."""


def studies(rows: Sequence[Row]) -> list["Study"]:
    """A study for each dataset, protocol and set of factors."""
    found: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.study:
            found[(*judged(row), *sorted(row.study))].append(row)
    return [Study(runs, chance(runs[0].data)) for _, runs in sorted(found.items())]


def chance(data: str) -> float:
    """The clean accuracy, in %, of guessing in a dataset."""
    content = yaml.safe_load((configs("data") / f"{data}.yaml").read_text(encoding="utf-8"))
    return 100 / len(build("data", {**content["data"], "name": data}).classes)


def place(run: Row) -> tuple[float, ...]:
    """The factors' values of a run, in the order of their names."""
    return tuple(float(value) for _, value in sorted(run.study.items()))


@dataclass(frozen=True)
class Arm:
    """The runs of one method; those that end with a clean accuracy below `least`, in %, have collapsed."""

    runs: list[Row]
    least: float

    @property
    def label(self) -> str:
        """The method, and what was changed from the study's recipe."""
        return label(self.runs[0])

    def fate(self, run: Row) -> str | None:
        """What became of a run; None where it is not over."""
        if run.state != "done":
            return "diverged" if run.state == "diverged" else None
        return "sound" if run.scores["clean_accuracy"].value >= self.least else "collapsed"

    @cached_property
    def cells(self) -> dict[tuple[float, ...], Counter[str]]:
        """How many runs came to what, by the factors' values."""
        found: dict[tuple[float, ...], Counter[str]] = defaultdict(Counter)
        for run in self.runs:
            if fate := self.fate(run):
                found[place(run)][fate] += 1
        return found

    @cached_property
    def fates(self) -> Counter[str]:
        """How many runs came to what."""
        return sum(self.cells.values(), Counter())

    @cached_property
    def survival(self) -> Score | None:
        """The share of sound runs; None while no run is over."""
        sound, over = self.fates["sound"], self.fates.total()
        return share("Survive", "1" * sound + "0" * (over - sound)) if over else None

    def row(self) -> list[Cell]:
        """Its row of the table."""
        sound = [run.scores["clean_accuracy"].value for run in self.runs if self.fate(run) == "sound"]
        of, over = self.survival, self.fates.total()
        return [
            Cell(self.label),
            Cell(f"{of.value:.1f} [{of.low:.1f}, {of.high:.1f}]", of.value) if of else NONE,
            *(Cell(f"{self.fates[fate]}/{over}", self.fates[fate]) for fate in FATES),
            Cell(f"{fmean(sound):.1f} ({min(sound):.1f})", fmean(sound)) if sound else NONE,
        ]


@dataclass(frozen=True)
class Study:
    """The runs of all methods; `chance` is the clean accuracy, in %, of guessing."""

    runs: list[Row]
    chance: float

    @cached_property
    def arms(self) -> list[Arm]:
        """The methods, the most stable first, those of which no run is over last, and those that are not ranked."""
        names = sorted({label(run) for run in self.runs})
        found = [Arm([run for run in self.runs if label(run) == name], 2 * self.chance) for name in names]
        return sorted(found, key=lambda arm: (barred(arm.runs), -arm.survival.value if arm.survival else 1))

    @property
    def factors(self) -> list[str]:
        """What was varied."""
        return sorted(self.runs[0].study)

    @property
    def name(self) -> str:
        """The stem of its files."""
        return "-".join(["stability", *judged(self.runs[0]), *self.factors])

    @property
    def heading(self) -> str:
        """What its runs agree in, what was varied, and what must be said of the numbers."""
        by = f"Stability: {title(self.runs[0])}, by {' and '.join(self.factors)}"
        return ": ".join(filter(None, [by, said(self.runs)]))

    @property
    def legend(self) -> str:
        """How its table is read."""
        return LEGEND.format(least=2 * self.chance)

    def table(self) -> Table:
        """What became of the runs, a row for each method."""
        fates = [fate.title for fate in FATES.values()]
        headers = ["method", "Survive ↑ %", *fates, "Accuracy ↑ % (lowest)"]
        return Table("", headers, [arm.row() for arm in self.arms])

    def figures(self, folder: Path) -> Iterator[tuple[str, Path]]:
        """The map, where there are two factors: what it shows, and its path below the folder."""
        if len(self.factors) == 2:
            path = Path("figures") / f"{self.name}.png"
            shown = [Map(arm.label, arm.cells) for arm in self.arms[:MOST]]
            maps(folder / path, shown, self.factors, told(said(self.runs), of=len(self.arms)))
            yield f"What became of the runs of each method, by {' and '.join(self.factors)}", path

    def footnotes(self) -> list[str]:
        """What is missing, then what was chosen, and how, and what deviates from the published setting."""
        wanted = len({(*place(run), run.seed) for run in self.runs})
        missing = [(arm.label, wanted - arm.fates.total()) for arm in self.arms]
        told = [
            f"{name}: {n} of {wanted} runs are missing or not over; its share does not compare"
            for name, n in missing
            if n
        ]
        return told + list(dict.fromkeys(note for arm in self.arms for run in arm.runs for note in origin(run)))
