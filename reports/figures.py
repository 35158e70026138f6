"""The figures of a section: the data that each takes from the section's rows, and its caption."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from math import nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, TypeVar

import numpy as np
from matplotlib.image import imread
from pydantic import BaseModel, Field, TypeAdapter

from harness.core.reading import png
from harness.evaluation.score import Number, Score
from harness.reports import curves, published
from harness.reports.columns import SIZES, training_hours
from harness.reports.plots.grids import grids
from harness.reports.plots.lines import Line, Panel, lines
from harness.reports.plots.ranks import ranks
from harness.reports.plots.reliability import Bin, Diagram, reliability
from harness.reports.plots.style import MOST, Look, looks, told
from harness.reports.plots.tradeoff import Point, Reference, Scale, Value, tradeoff
from harness.reports.section import Section, front
from harness.reports.series import Series, said
from harness.reports.significance import blocks, rank

T = TypeVar("T")

STEPS = "sampler: number of steps"
"""The key in a record for the choice of the sampler's steps, as selection.Steps names it."""

STEP_COUNT = Annotated[int, Field(ge=1, le=10**9)]


class Choice(BaseModel):
    """What figures need of selection.json: the distance at each number of steps, and the chosen one."""

    steps: STEP_COUNT
    distances: dict[STEP_COUNT, Number]


BINS = TypeAdapter(list[Bin])
"""Parser of reliability.json."""

NORMS = {"l2": "L2 radius", "linf": "L∞ radius"}


def figures(section: Section, folder: Path) -> Iterator[tuple[str, Path]]:
    """Draw the figures for which there are data; yield the caption and the path of the PNG below the folder."""
    shown = Shown(section)
    for kind, draw in KINDS.items():
        path = Path("figures") / f"{kind}-{section.name}.png"
        if caption := draw(shown, folder / path):
            yield caption, path


@dataclass(frozen=True)
class Shown:
    """The series that the figures of a section show: the first MOST of those with a finished run, by their labels."""

    section: Section

    @cached_property
    def all(self) -> list[Series]:
        """All series with a run that is done."""
        return [series for series in self.section.series if series.done]

    @cached_property
    def series(self) -> dict[str, Series]:
        """The series that are shown, by label."""
        return {self.section.labels[series.key]: series for series in self.all[:MOST]}

    @cached_property
    def looks(self) -> dict[str, Look]:
        """The look of each series, by label."""
        return dict(zip(self.series, looks([series.runs[0].method for series in self.series.values()]), strict=True))

    @property
    def bars(self) -> str:
        """What the bars are, in words."""
        several = [len(series.done) > 1 for series in self.series.values()]
        if all(several):
            return "bars: sd over seeds"
        return "bars: sd over seeds; for one seed, the 95 % interval" if any(several) else "bars: 95 % intervals"

    def said(self, *more: str) -> str:
        """Return the text above a figure: remarks on its numbers, and whether series are left out."""
        return told(said(self.section.runs), *more, of=len(self.all))

    def each(self, take: Callable[[Series], T | None]) -> dict[str, T]:
        """Apply a function to each series; leave out empty results."""
        return {label: result for label, series in self.series.items() if (result := take(series))}


def _value(series: Series, key: str) -> Value | None:
    """Return a score with its bar; None if there is none or the series is not ranked."""
    scores = series.scores(key)
    if not scores or series.barred:
        return None
    mean, sd, only = series.mean(key), series.sd(key), scores[0]
    if len(scores) > 1:
        return Value(mean, mean - sd, mean + sd)
    return Value(mean, nan if only.low is None else only.low, nan if only.high is None else only.high)


def _tradeoff(shown: Shown, path: Path) -> str:
    section = shown.section
    robust, distance = section.first("robust_accuracy"), section.first("fd", "fid")
    if not robust or not distance:
        return ""
    # Place the ranked series that have both scores, and the published results.
    points = [
        Point(label, shown.looks[label], x, y, series.key in section.front)
        for label, series in shown.series.items()
        if (x := _value(series, distance)) and (y := _value(series, robust))
    ]
    if not points:
        return ""
    others = published.points(section.runs[0].data, robust) if distance == "fid" else []
    references = [Reference(label, fid, accuracy) for label, accuracy, fid in others]
    x, y = section.scores[distance], section.scores[robust]
    tradeoff(path, points, references, _scale(x), _scale(y), shown.said(shown.bars))
    hollow = "; hollow: published, not run here" if references else ""
    return f"{y.title} against {x.title}; {shown.bars}{hollow}"


def _cost(shown: Shown, path: Path) -> str:
    robust = shown.section.first("robust_accuracy")
    hours = shown.each(lambda series: [cost for run in series.done if (cost := training_hours(run))])
    placed = {label: y for label in hours if robust and (y := _value(shown.series[label], robust))}
    if not robust or len(placed) < 2:  # one alone is cheaper than nothing
        return ""
    # The cost is FLOP, in a unit that gives short numbers, if they are known of all; else hours.
    flop = shown.each(lambda series: [run.spent.flop for run in series.done if run.spent.flop])
    what, costs = "hours", hours
    if placed.keys() <= flop.keys():
        largest = max(max(flop[label]) for label in placed)
        unit, size = next(((unit, size) for unit, size in SIZES.items() if largest >= size), ("", 1.0))
        what, costs = f"{unit}FLOP", {label: [value / size for value in values] for label, values in flop.items()}
    ends = front({label: (-y.mean, fmean(costs[label])) for label, y in placed.items()})
    points = [
        Point(label, shown.looks[label], _over_seeds(costs[label]), y, label in ends) for label, y in placed.items()
    ]
    score = shown.section.scores[robust]
    tradeoff(path, points, [], Scale(f"training, {what}", "lower"), _scale(score), shown.said(shown.bars))
    return f"{score.title} against the cost of training, in {what}; {shown.bars}"


def _over_seeds(values: Sequence[float]) -> Value:
    """Return the mean of a cost with its sd over seeds."""
    mean, sd = fmean(values), stdev(values) if len(values) > 1 else nan
    return Value(mean, mean - sd, mean + sd)


def _scale(score: Score) -> Scale:
    return Scale(score.title + (f", {score.unit}" if score.unit else ""), score.better)


def _radius(shown: Shown, path: Path) -> str:
    radii: dict[str, dict[float, str]] = defaultdict(lambda: {0.0: "clean_accuracy"})
    for key in shown.section.scores:
        if match := re.fullmatch(r"robust_accuracy/(\w+)_([\d.e-]+)", key):
            radii[match[1]][float(match[2])] = key
    panels = [
        Panel(NORMS.get(norm, norm), "accuracy, %", series_lines)
        for norm, keys in radii.items()
        if (series_lines := shown.each(lambda series, keys=keys: _accuracies(series, keys)))
    ]
    if not panels:
        return ""
    lines(path, panels, shown.looks, shown.said(shown.bars))
    return f"Accuracy by the radius of the attack, 0 for clean images; {shown.bars}"


def _accuracies(series: Series, keys: dict[float, str]) -> Line | None:
    points = {eps: value for eps, key in sorted(keys.items()) if (value := _value(series, key))}
    values = points.values()
    line = Line(list(points), [v.mean for v in values], [v.low for v in values], [v.high for v in values])
    return line if len(points) > 1 else None


def _steps(shown: Shown, path: Path) -> str:
    distances = shown.each(_distances)
    if not distances:
        return ""
    choices = [
        run.selection[STEPS] for series in shown.series.values() for run in series.done if STEPS in run.selection
    ]
    what = choices[0].by.partition(":")[0] if choices else "Distance"
    split = f", against the {' and '.join(choices[0].split)} split" if choices else ""
    note = "filled: chosen for a seed; bars: sd over seeds"
    panel = Panel("sampler's steps", what.partition(" of ")[0], distances, log="xy")
    lines(path, [panel], shown.looks, shown.said(note))
    return f"How many steps the sampler takes: {what}{split}; {note}"


def _distances(series: Series) -> Line | None:
    """Return the distances at the candidates that all seeds tried; None if there are none."""
    data = [choice for run in series.done if (choice := run.read("selection.json", Choice.model_validate_json))]
    steps = [step for step in (data[0].distances if data else ()) if all(step in seed.distances for seed in data)]
    values = [[seed.distances[step] for seed in data] for step in steps]
    mean, sd = [fmean(row) for row in values], [stdev(row) if len(row) > 1 else nan for row in values]
    low, high = ([m + sign * s for m, s in zip(mean, sd, strict=True)] for sign in (-1, 1))
    chosen = {seed.steps for seed in data}
    return Line([int(step) for step in steps], mean, low, high, [step in chosen for step in steps]) if steps else None


def _training(shown: Shown, path: Path) -> str:
    logs = shown.each(
        lambda series: [log for run in series.done if (log := run.read("metrics.jsonl", curves.table)) is not None]
    )
    panels, terms = curves.panels(logs)
    if not panels:
        return ""
    some = f"{len(panels)} of {terms} logged terms" if len(panels) < terms else ""
    lines(path, panels, shown.looks, shown.said("means over seeds, bands: sd", some))
    curriculum = "; T is the curriculum's number of steps" if any(panel.y == "T" for panel in panels) else ""
    return f"Training: means of what was logged over seeds, as far as all of them got, and their sd{curriculum}"


def _reliability(shown: Shown, path: Path) -> str:
    all_bins = shown.each(_bins)
    if not all_bins:
        return _pictures("reliability", "Reliability diagram")(shown, path)
    diagrams = [Diagram(label, _ece(shown.series[label]), bins) for label, bins in all_bins.items()]
    note = "lines: 95 % intervals; the images of all seeds together"
    reliability(path, diagrams, shown.said(note))
    return f"Reliability diagrams, accuracy by confidence; {note}"


def _bins(series: Series) -> list[Bin]:
    """Add up the bins of all seeds."""
    seeds: list[list[Bin]] = []
    for run in series.done:
        if bins := run.read("reliability.json", _parse_bins):
            if seeds and [(bin.low, bin.high) for bin in bins] != [(bin.low, bin.high) for bin in seeds[0]]:
                run.doubt("reliability.json", "it has other bins than those of the other seeds")
            else:
                seeds.append(bins)
    return [
        Bin(b[0].low, b[0].high, sum(x.count for x in b), sum(x.right for x in b)) for b in zip(*seeds, strict=True)
    ]


def _parse_bins(content: bytes) -> list[Bin]:
    """The bins of a reliability.json; ValueError if they are none."""
    bins = BINS.validate_json(content)
    if not all(0 <= bin.low < bin.high <= 1 and 0 <= bin.right <= bin.count <= 10**15 for bin in bins):
        raise ValueError("it does not count the images in bins of confidence")
    return bins


def _ece(series: Series) -> str:
    return f"ECE {series.mean('ece'):.1f} %" if series.scores("ece") else ""


def _ranks(shown: Shown, path: Path) -> str:
    section = shown.section
    main = {key: score for key, score in section.scores.items() if not score.table}
    series, keys, values = blocks([one for one in shown.series.values() if not one.barred], main)
    if len(series) < 3 or len(values) < 2:
        return ""
    found, labels = rank(values), {one.key: label for label, one in shown.series.items()}
    means = {labels[one.key]: mean for one, mean in zip(series, found.means, strict=True)}
    note = f"{found.blocks} blocks: {len(keys)} scores of {found.blocks // len(keys)} seeds; Friedman p = {found.p:.2g}"
    ranks(path, means, shown.looks, found.groups, found.distance, shown.said(note))
    return (
        f"Mean ranks over seeds and scores ({', '.join(section.scores[key].title for key in keys)}); a grey bar spans "
        "methods that do not differ significantly (Friedman, Nemenyi). Scores of one seed are not independent, so this "
        "is an overview: the tests behind the bold numbers decide"
    )


def _strips(shown: Shown, path: Path) -> str:
    same = _pictures("counterfactual_strip", "Counterfactuals of the same image", columns=2)(shown, path)
    return same or _pictures("counterfactuals", "Counterfactuals")(shown, path)


def _pictures(name: str, what: str, columns: int = 4) -> Callable[[Shown, Path], str]:
    def draw(shown: Shown, path: Path) -> str:
        pictures = {
            label: image
            for label, series in shown.series.items()
            if (image := series.done[0].read(f"{name}.png", _decode)) is not None
        }
        if pictures:
            grids(path, list(pictures.items()), shown.said(), columns)
        return f"{what} of each method, from its lowest seed that is done" if pictures else ""

    return draw


def _decode(content: bytes) -> np.ndarray:
    return imread(BytesIO(png(content)), "png")


KINDS: dict[str, Callable[[Shown, Path], str]] = {
    "tradeoff": _tradeoff,
    "cost": _cost,
    "ranks": _ranks,
    "radius": _radius,
    "training": _training,
    "steps": _steps,
    "reliability": _reliability,
    "samples": _pictures("samples", "Samples"),
    "counterfactuals": _strips,
    "long_chains": _pictures("long_chains", "Samples of longer chains"),
    "nearest": _pictures("nearest", "Samples that look most like copies, above their nearest training images,"),
}
"""The function that draws each kind of figure and returns its caption; empty if there is nothing to draw."""
