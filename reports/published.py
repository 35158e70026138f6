"""Published results of others: shown in separate tables and never ranked, because nobody ran them here."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.reports.tables import Cell, Table

HEADING = "Published, not run here"
LEGEND = """\
As the named sources give them, each under its own protocol: none is ranked, and none compares with a row of ours \
unless protocol, net and data are the same. A number with ? is second-hand: it was read in a note or in a table of \
others, so no figure shows it. The others were read in the code or the figures of their authors, or in RobustBench."""

SECOND_HAND = "?"
"""The mark of a number that was not read where its authors published it."""

THREATS = {"l2_0.5": "L2 0.5", "l2_3": "L2 3", "linf_0.0313725": "Linf 8/255", "linf_0.0156863": "Linf 4/255"}
"""Norms and radii of AutoAttack accuracies, by the last part of our scores' keys."""

METRICS = {
    "Accuracy and samples": {
        "clean_acc": "Clean accuracy ↑ %",
        **{f"robust_acc/{key}": f"AutoAttack {name} ↑ %" for key, name in THREATS.items()},
        "robust_acc": "another attack ↑ %",
        "FID": "FID ↓",
        "IS": "IS ↑",
        "precision": "Precision ↑",
        "recall": "Recall ↑",
        "counterfactual_FID": "Counterfactual FID ↓",
        "ECE_percent": "ECE ↓ %",
        "params_M": "parameters, M",
        "sampling_steps": "sampling steps",
    },
    "OOD detection, AUROC ↑ %": {
        "OOD_AUROC": "set not named",
        "OOD_AUROC_SVHN": "SVHN",
        "OOD_AUROC_CIFAR100": "CIFAR-100",
        "OOD_AUROC_CelebA": "CelebA",
        "OOD_AUROC_Interp": "interpolations",
    },
}
"""The tables, and the header in them of each metric of the file."""


@dataclass(frozen=True)
class Published:
    """One number.

    threat: norm and radius of an accuracy under AutoAttack, as in our scores' keys; else empty. trust: primary, if it
    was read where its authors or RobustBench published it; second-hand, if in a note or a table of others.
    """

    data: str
    method: str
    net: str
    metric: str
    value: float
    threat: str
    protocol: str
    source: str
    trust: str

    @property
    def column(self) -> str:
        """The metric, and the attack if there is one."""
        return "/".join(filter(None, [self.metric, self.threat]))


@cache
def everything() -> list[Published]:
    """Return all lines of published.csv."""
    with (Path(__file__).parent / "published.csv").open(encoding="utf-8", newline="") as file:
        return [_parse(**line) for line in csv.DictReader(file)]


def _parse(value: str, **texts: str) -> Published:
    return Published(**texts, value=float(value))


def datasets() -> list[str]:
    """Return the names of the datasets with published results."""
    return list(dict.fromkeys(result.data for result in everything()))


def of(data: str) -> list[Published]:
    """Return the published results on a dataset, given the name of its config."""
    return [result for result in everything() if result.data == data]


def points(data: str, robust: str) -> list[tuple[str, float, float]]:
    """Return name, robust accuracy and FID of each primary result that has both; robust: the key of our score."""
    attacked = robust.replace("robust_accuracy", "robust_acc")
    primary = [result for result in of(data) if result.trust == "primary"]
    lines = [line for line in _lines(primary) if {attacked, "FID"} <= set(line.of)]
    return [(line.name, line.of[attacked].value, line.of["FID"].value) for line in lines]


def tables(found: Sequence[Published]) -> list[Table]:
    """Return the tables, a row for each method under each protocol, in the order of the file."""
    blocks = []
    for title, metrics in METRICS.items():
        lines = _lines([result for result in found if result.column in metrics])
        columns = [metric for metric in metrics if any(metric in line.of for line in lines)]
        headers = ["method", "net", *(metrics[metric] for metric in columns), "protocol", "source"]
        if lines:
            blocks.append(Table(title, headers, [_row(line, columns, found) for line in lines]))
    return blocks


def footnotes(found: Sequence[Published]) -> list[str]:
    """Return the protocols and the sources to which the numbers in the tables refer."""
    protocols = [f"Protocol {number}: {text}" for number, text in enumerate(_distinct(found, "protocol"), start=1)]
    return protocols + [f"Source {number}: {text}" for number, text in enumerate(_distinct(found, "source"), start=1)]


@dataclass(frozen=True)
class _Line:
    """The results of one method under one protocol, by column."""

    of: dict[str, Published]

    @property
    def any(self) -> Published:
        return next(iter(self.of.values()))

    @property
    def name(self) -> str:
        return " ".join(filter(None, [self.any.method, self.any.net and f"({self.any.net})"]))


def _lines(found: Sequence[Published]) -> list[_Line]:
    lines: dict[tuple[str, str, str], dict[str, Published]] = defaultdict(dict)
    for result in found:
        lines[result.method, result.net, result.protocol][result.column] = result
    return [_Line(line) for line in lines.values()]


def _row(line: _Line, metrics: Sequence[str], found: Sequence[Published]) -> list[Cell]:
    sources = sorted({_distinct(found, "source").index(result.source) + 1 for result in line.of.values()})
    return [
        Cell(line.any.method),
        Cell(line.any.net or "–"),
        *(_cell(line.of.get(metric)) for metric in metrics),
        Cell(str(_distinct(found, "protocol").index(line.any.protocol) + 1)),
        Cell(", ".join(map(str, sources))),
    ]


def _cell(one: Published | None) -> Cell:
    if not one:
        return Cell("–")
    return Cell(f"{one.value:g}", one.value, marks=SECOND_HAND if one.trust == "second-hand" else "")


def _distinct(found: Sequence[Published], key: str) -> list[str]:
    return list(dict.fromkeys(getattr(result, key) for result in found))
