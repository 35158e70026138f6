"""Which series of a page differ in a score: a paired test of every pair, and Demšar's ranks over all scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import nan, sqrt

import numpy as np
import scipy  # its modules are slow to import, and it loads each on first use
from pydantic import BaseModel

from harness.evaluation.intervals import LEVEL
from harness.evaluation.score import Score
from harness.reports.series import Series

ALPHA = 1 - LEVEL
"""The level of significance."""

MOST = 100
"""Maximum number of series whose pairs are tested: with more, hardly a difference would survive the correction."""

TESTED = """\
Bold: not significantly worse than the best of the column (p ≥ 0.05 in a paired bootstrap over seeds and images, with \
Holm's correction over all pairs of the column). A method that shares fewer than two seeds with the best cannot be \
tested and is not bold; if the best has one seed, nothing in its column is bold."""

UNTESTED = "Nothing is bold: only methods with two seeds in common can be compared."

TOO_MANY = f"Nothing is bold: pairs of more than {MOST} methods are not tested."


class Judged(BaseModel):
    """What tests need of record.json: which images a run is right on, by attack or metric."""

    outcomes: dict[str, str] = {}


@dataclass(frozen=True)
class Difference:
    """A mean difference between two series over the seeds that both have, with its standard error.

    freedom: the degrees of freedom of Student's t for mean / error.
    """

    mean: float
    error: float
    freedom: float
    seeds: int

    @property
    def p(self) -> float:
        """Two-sided p-value of no difference."""
        if not self.error:
            return float(not self.mean)
        return float(2 * scipy.special.stdtr(self.freedom, -abs(self.mean) / self.error))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference, for other seeds and other images."""
        half = float(scipy.special.stdtrit(self.freedom, (1 + LEVEL) / 2)) * self.error
        return self.mean - half, self.mean + half


def difference(paired: np.ndarray) -> Difference:
    """Test the mean of paired differences d, seeds x images (a single column for a score that is not of images).

    The bootstrap of a mean needs no draws: with infinitely many, its variance is Σ (x − x̄)² / n² (Efron and Tibshirani
    1993, section 5.3). Over S seeds and over n images it is, times S/(S − 1) and n/(n − 1), which make it unbiased,

        v_S = Σ_s (d̄_s − d̄)² / (S (S − 1)),    v_n = Σ_i (d̄_i − d̄)² / (n (n − 1)).

    Both hold the noise of single outcomes, v_e = Σ (d_si − d̄_s − d̄_i + d̄)² / (S n (S − 1) (n − 1)); resampling both at
    once would count it three times (Owen 2007, The pigeonhole bootstrap). So the error is √(v_S + v_n − v_e), and no
    smaller than that over seeds or images alone. Few seeds leave it uncertain, so quantiles are not the normal ones but
    Student's t, with Satterthwaite's degrees of freedom. At least two seeds are needed.
    """
    (seeds, images), mean = paired.shape, float(paired.mean())
    by_seed, by_image = paired.mean(1, keepdims=True), paired.mean(0, keepdims=True)
    over_seeds = float(((by_seed - mean) ** 2).sum()) / (seeds * (seeds - 1))
    over_images, noise, rest = 0.0, 0.0, (seeds - 1) * max(1, images - 1)
    if images > 1:
        over_images = float(((by_image - mean) ** 2).sum()) / (images * (images - 1))
        noise = float(((paired - by_seed - by_image + mean) ** 2).sum()) / (seeds * images * rest)
    variance = max(over_seeds + over_images - noise, over_seeds, over_images)
    squares = over_seeds**2 / (seeds - 1) + over_images**2 / max(1, images - 1) + noise**2 / rest
    return Difference(mean, sqrt(variance), variance**2 / squares if squares else seeds - 1.0, seeds)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (1979): the i-th smallest of m times m − i + 1, at least the one before, at most 1."""
    adjusted, largest = [nan] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = largest
    return adjusted


def by_score(outcomes: Mapping[str, str]) -> dict[str, str]:
    """Outcomes by the key of their score; of a threat, those after its last attack."""
    last = {key.partition("/")[0]: key for key in outcomes}
    return {
        f"{threat}_accuracy" if threat == "clean" else f"robust_accuracy/{threat}": outcomes[key]
        for threat, key in last.items()
    }


@dataclass(frozen=True)
class Comparison:
    """The tests of all pairs of the ranked series that have a score; `score` is any of them, for its direction."""

    key: str
    score: Score
    series: list[Series] = field(repr=False)

    @cached_property
    def several(self) -> list[Series]:
        """The series that have the score of two seeds or more, and so can be tested."""
        return [one for one in self.series if len(one.scores(self.key)) > 1]

    @property
    def too_many(self) -> bool:
        """Whether their pairs are not tested, because there are more than MOST."""
        return len(self.several) > MOST

    @cached_property
    def tests(self) -> dict[tuple[str, str], Difference]:
        """The differences, first minus second, by the keys of two series; empty if there are too many series.

        Pairs with fewer than two seeds in common are left out.
        """
        values = {} if self.too_many else {one.key: _values(one, self.key) for one in self.several}
        tests: dict[tuple[str, str], Difference] = {}
        for (first, of_first), (second, of_second) in combinations(values.items(), 2):
            common = sorted(of_first.keys() & of_second.keys())
            if len(common) > 1:
                tests[first, second] = difference(_paired([(of_first[seed], of_second[seed]) for seed in common]))
        return tests

    @cached_property
    def adjusted(self) -> dict[tuple[str, str], float]:
        """Holm's adjusted p-values, by the keys of two series in either order."""
        corrected = dict(zip(self.tests, holm([test.p for test in self.tests.values()]), strict=True))
        return corrected | {(second, first): p for (first, second), p in corrected.items()}

    @cached_property
    def bold(self) -> set[str]:
        """Keys of the best series, and of those that are not significantly worse; none if the best was not tested."""
        scored = [one for one in self.series if one.scores(self.key)]
        tested = {key for pair in self.tests for key in pair}
        if not tested:
            return set()
        best = (max if self.score.better == "higher" else min)(scored, key=lambda one: one.mean(self.key)).key
        if best not in tested:
            return set()
        return {best} | {key for key in tested if self.adjusted.get((best, key), 0) >= ALPHA}


def note(comparisons: Sequence[Comparison]) -> str:
    """Say what bold means in a table of these scores."""
    if any(comparison.tests for comparison in comparisons):
        return TESTED
    return TOO_MANY if any(comparison.too_many for comparison in comparisons) else UNTESTED


@dataclass(frozen=True)
class Value:
    """A score of one seed, and which images it is right on, in points; empty if it is not of images."""

    value: float
    points: np.ndarray


def _values(series: Series, key: str) -> dict[int, Value]:
    """The values of the seeds that are done, by seed."""
    values: dict[int, Value] = {}
    of_images = key.startswith(("clean_accuracy", "robust_accuracy/"))
    for run in series.done:
        if (score := run.scores.get(key)) is None:
            continue
        judged = run.read("record.json", Judged.model_validate_json) if of_images else None
        outcomes = by_score(judged.outcomes).get(key, "") if judged else ""
        values[run.seed] = Value(score.value, 100.0 * (np.frombuffer(outcomes.encode(), np.uint8) == ord("1")))
    return values


def _paired(pairs: Sequence[tuple[Value, Value]]) -> np.ndarray:
    """The differences of values, seeds x images if all are of the same number of images, else seeds x 1."""
    lengths = {len(value.points) for pair in pairs for value in pair}
    if len(lengths) == 1 and lengths != {0}:
        return np.array([first.points - second.points for first, second in pairs])
    return np.array([[first.value - second.value] for first, second in pairs])


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of several series over blocks, 1 for the best, and what tells whether they differ.

    p: of Friedman's test that they do not. distance: the critical difference, by which two mean ranks must differ.
    """

    means: list[float]
    blocks: int
    p: float
    distance: float

    @property
    def groups(self) -> list[tuple[float, float]]:
        """The lowest and highest rank of each largest group in which no two series differ significantly."""
        if self.p >= ALPHA:
            return [(min(self.means), max(self.means))]
        ordered, groups = sorted(self.means), list[tuple[float, float]]()
        for low in ordered:
            high = max(rank for rank in ordered if rank - low <= self.distance)
            if high > low and (not groups or high > groups[-1][1]):
                groups.append((low, high))
        return groups


def rank(values: np.ndarray) -> Ranks:
    """Rank the columns of values, blocks x series (3 or more), higher is better; ties share their mean rank.

    Friedman's test, then Nemenyi's critical difference q √(k (k + 1) / (6 N)) for k series and N blocks, where q is the
    quantile of the Studentized range divided by √2 (Demšar 2006, section 3.2.2).
    """
    blocks, k = values.shape
    means = scipy.stats.rankdata(-values, axis=1).mean(0)
    with np.errstate(invalid="ignore"):  # where all values of all blocks are equal
        p = float(scipy.stats.friedmanchisquare(*values.T).pvalue)
    q = float(scipy.stats.studentized_range.ppf(LEVEL, k, np.inf)) / sqrt(2)
    return Ranks(means.tolist(), blocks, 1.0 if np.isnan(p) else p, q * sqrt(k * (k + 1) / (6 * blocks)))


def blocks(series: Sequence[Series], scores: Mapping[str, Score]) -> tuple[list[Series], list[str], np.ndarray]:
    """Return the series to rank, the keys of the scores, and values, (scores · seeds) x series, higher is better.

    Demšar's blocks are data sets. A page has one, so a block is here one score of one seed: all methods judged once by
    the same measure, on the same images. Ranks forget units, so scores of any kind can stand side by side. Blocks of
    one seed are of the same nets, and scores agree with each other: blocks are not independent, so the critical
    difference is too small, and the ranks give an overview, which tests of the single scores have to confirm. Ranked
    are series with two or more seeds, over the seeds and scores that all of them have.
    """
    several = [one for one in series if len(one.done) > 1]
    seeds = set.intersection(*({run.seed for run in one.done} for one in several)) if several else set[int]()
    runs = [{run.seed: run for run in one.done if run.seed in seeds} for one in several]
    keys = [key for key in scores if all(key in run.scores for by_seed in runs for run in by_seed.values())]
    signs = {key: 1 if scores[key].better == "higher" else -1 for key in keys}
    rows = [
        [signs[key] * by_seed[seed].scores[key].value for by_seed in runs] for key in keys for seed in sorted(seeds)
    ]
    return several, keys, np.array(rows).reshape(len(rows), len(several))
