"""The sections of studies: which runs stayed sound, by method and by the factors that were varied."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

import pandas as pd
import yaml

from harness.metric import share
from harness.record import Score
from harness.registry import build, configs
from harness.reports.figures import FATES, Cell, Map, maps
from harness.reports.rows import Row
from harness.reports.series import barred, judged, label, origin, said, title

LEGEND = """\
Each method was trained at all values of the factors, of which 1 is its recipe's. A run is *diverged* where a loss or \
a weight left its bounds; *collapsed to chance* where it came to its end with a clean accuracy below {least:g} %, \
twice that of guessing; else it is *sound*. Survive is the share of sound runs, with its 95 % interval (Wilson), as if \
the runs were independent. Accuracy is the mean clean accuracy of the sound runs, and the lowest of them. A cell of \
the map tells how many of its runs are sound, of all that are over."""


def sections(rows: Sequence[Row], folder: Path) -> Iterator[str]:
    """A section for each dataset, protocol and set of factors; its figure is written below the folder."""
    studies: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row.study:
            studies[(*judged(row), *sorted(row.study))].append(row)
    for _, runs in sorted(studies.items()):
        yield Study(runs, chance(runs[0].data)).markdown(folder)


def chance(data: str) -> float:
    """The clean accuracy, in %, of guessing in a dataset."""
    content = yaml.safe_load((configs("data") / f"{data}.yaml").read_text(encoding="utf-8"))
    return 100 / len(build("data", {**content["data"], "name": data}).classes)


def place(run: Row) -> Cell:
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
    def cells(self) -> dict[Cell, Counter[str]]:
        """How many runs came to what, by the factors' values."""
        found: dict[Cell, Counter[str]] = defaultdict(Counter)
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

    def row(self) -> list[str]:
        """Its row of the table."""
        sound = [run.scores["clean_accuracy"].value for run in self.runs if self.fate(run) == "sound"]
        survival = self.survival
        return [
            self.label.replace("|", "\\|"),
            f"{survival.value:.1f} [{survival.low:.1f}, {survival.high:.1f}]" if survival else "–",
            *(f"{self.fates[fate]}/{self.fates.total()}" for fate in FATES),
            f"{fmean(sound):.1f} ({min(sound):.1f})" if sound else "–",
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

    def markdown(self, folder: Path) -> str:
        """The section; its figure, where there are two factors, is written below the folder."""
        factors = sorted(self.runs[0].study)
        heading = f"## Stability: {title(self.runs[0])}, by {' and '.join(factors)}"
        parts = [
            ": ".join(filter(None, [heading, said(self.runs)])),
            LEGEND.format(least=2 * self.chance),
            self.table().to_markdown(index=False, disable_numparse=True),
            "\n".join(self.footnotes()),
        ]
        if len(factors) == 2:
            path = Path("figures") / f"stability-{'-'.join([*judged(self.runs[0]), *factors])}.png"
            maps(folder / path, [Map(arm.label, arm.cells) for arm in self.arms], factors, said(self.runs))
            parts.append(f"![What became of the runs of each method, by {' and '.join(factors)}]({path})")
        return "\n\n".join(filter(None, parts))

    def table(self) -> pd.DataFrame:
        """The table, a row for each method."""
        fates = [fate.title for fate in FATES.values()]
        headers = ["method", "Survive ↑ %", *fates, "Accuracy ↑ % (lowest)"]
        return pd.DataFrame([arm.row() for arm in self.arms], columns=pd.Index(headers))

    def footnotes(self) -> Iterator[str]:
        """What is missing, then what was chosen, and how, and what deviates from the published setting."""
        wanted = len({(*place(run), run.seed) for run in self.runs})
        for arm in self.arms:
            if missing := wanted - arm.fates.total():
                yield f"- {arm.label}: {missing} of {wanted} runs are missing or not over; its share does not compare"
        yield from dict.fromkeys(note for arm in self.arms for run in arm.runs for note in origin(run))
