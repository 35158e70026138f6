"""Training curves: means over seeds of what runs logged, in equal intervals of images seen."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from harness.core.reading import log_lines, parse_log
from harness.reports.plots.lines import Line, Panel

STRETCHES = 60
"""Points of a curve; values logged in between are averaged."""

LINES = 3000
"""Maximum number of lines of a run's log that are read, evenly spaced."""

FIRST, MOST = ("T", "auc", "score_gradient", "energy_gap", "validation_accuracy"), 9
"""Terms that are always shown (the curriculum's T and the AUC that drives it, and the monitors of every stage); the
maximum number of terms."""

SPAN = 100
"""A term has a logarithmic axis if its largest mean is more than this many times its smallest."""


def panels(logs: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[list[Panel], int]:
    """Return a panel for each of the most logged terms, from the tables of each series' runs, and the number of terms.

    A term is a name under which a stage logs values; the stages of a run follow one another.
    """
    longest = max((frame["images"].max() for tables in logs.values() for frame in tables), default=0)
    edges = np.linspace(0, longest, STRETCHES + 1)
    curves = {label: _over_seeds(tables, edges) for label, tables in logs.items()}
    common = Counter(term for curve in curves.values() for term in curve)
    terms = sorted(common, key=lambda term: (term not in FIRST, -common[term]))[:MOST]
    return [_panel(term, {k: curve[term] for k, curve in curves.items() if term in curve}) for term in terms], len(
        common
    )


def table(content: bytes) -> pd.DataFrame | None:
    """The log of a run, a row for each value: images seen by then, term, value; None without a value.

    ValueError if it is damaged.
    """
    lines = log_lines(content)
    points = [point for point in parse_log(lines[:: -(-len(lines) // LINES) or 1]) if len(point) > 1]
    if not points:
        return None
    melted = pd.DataFrame(points).melt("images", var_name="term").dropna()
    return melted.assign(term=melted["term"].str.rpartition("/")[2])


def _over_seeds(runs: Sequence[pd.DataFrame], edges: np.ndarray) -> dict[str, Line]:
    """Mean and sd of each term over seeds, as long as all of them were training."""
    centres = (edges[1:] + edges[:-1]) / 2
    logged = pd.concat([run.assign(run=number) for number, run in enumerate(runs)])
    logged["x"] = np.digitize(logged["images"], edges[1:], right=True)
    means = pd.DataFrame(logged.groupby(["term", "x", "run"])["value"].mean())
    over = pd.DataFrame(means.groupby(level=["term", "x"])["value"].agg(["mean", "std", "count"]))
    complete = pd.DataFrame(over[over["count"] == len(runs)])
    lines = {}
    for term, part in complete.groupby(level="term", sort=False):
        mean, sd = np.asarray(part["mean"]), np.asarray(part["std"])
        x = centres[np.asarray(part.index.get_level_values("x"), int)]
        lines[str(term)] = Line(x, mean, mean - sd, mean + sd)
    return lines


def _panel(term: str, lines: Mapping[str, Line]) -> Panel:
    values = np.concatenate([np.asarray(line.mean) for line in lines.values()])
    wide = values.min() > 0 and values.max() > SPAN * values.min()
    return Panel("images seen", term, lines, dense=True, log="y" if wide else "")
