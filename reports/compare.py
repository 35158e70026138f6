"""Compare two runs evaluated on the same images: paired scores by a test, the other scores side by side."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy.stats import binomtest, bootstrap

from harness.core.errors import UserError
from harness.evaluation.intervals import LEVEL
from harness.evaluation.score import Score, group_warnings
from harness.reports.significance import by_score
from harness.runs import record
from harness.runs.code import file_of
from harness.runs.folder import state
from harness.runs.record import Record
from harness.runs.run import find

RESAMPLES = 9999
"""Number of resamples of the images for an interval."""

AT_ONCE = 10**6
"""Number of outcomes that are resampled at a time, which bounds the memory."""

NOTES = """\
A − B: in points, with its 95 % interval over images (paired bootstrap). It is about these two trained nets; other \
seeds scatter too.
p: how likely two equally good runs would share the images that one alone is right on at least as unevenly (exact \
McNemar test). Of several comparisons some come out small by chance: multiply each p by their number (Bonferroni).
–: samples are not paired, nor is what is computed of many images at once; the intervals are those of each run alone."""


@dataclass(frozen=True)
class Pair:
    """Which of the same images two runs classify correctly, as ones and zeros; the test uses their disagreements."""

    title: str
    first: np.ndarray
    second: np.ndarray

    @property
    def shares(self) -> tuple[float, float]:
        """Accuracy of each run, in %."""
        return 100 * float(self.first.mean()), 100 * float(self.second.mean())

    @property
    def only(self) -> tuple[int, int]:
        """Number of images that only the first run, and that only the second run, is right on."""
        return int((self.first > self.second).sum()), int((self.first < self.second).sum())

    @property
    def difference(self) -> float:
        """Difference of the accuracies, in percentage points."""
        first, second = self.only
        return 100 * (first - second) / len(self.first)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the difference over images, in percentage points."""
        points, batch = 100.0 * (self.first - self.second), max(1, AT_ONCE // len(self.first))
        result = bootstrap(
            (points,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=batch,
            confidence_level=LEVEL,
            method="percentile",
            random_state=np.random.default_rng(0),  # pyright: ignore[reportCallIssue] - called rng from scipy 1.15 on
        )
        return float(result.confidence_interval.low), float(result.confidence_interval.high)

    @property
    def p(self) -> float:
        """p-value of the exact McNemar test: for equal runs, a disagreement favours either with probability 1/2."""
        first, second = self.only
        return float(binomtest(first, first + second).pvalue) if first + second else 1.0


def read_record(word: str, root: Path) -> tuple[str, Record]:
    """Return the name and the record of a run that is done, given its folder's path or its name below the root."""
    folder = find(word, root)
    if (what := state(folder)) != "done":
        raise UserError(f"{folder.name} is {what}, and only runs that are done compare: python -m harness status.")
    return folder.name, record.read(folder / "record.json")


def pairs(first: Record, second: Record) -> dict[str, Pair]:
    """Return the outcomes per image that both records have, by key of their score; of a threat after its last attack.

    Outcomes that make a score only together with others, as those of single corruptions do, are left out.
    UserError, with all differences, if the images or the protocols are not the same.
    """
    # Refuse runs that were not evaluated on the same images under one protocol.
    tags = [(side.data, f"{side.protocol.id} (hash {side.protocol.hash})") for side in (first, second)]
    differ = [f"{what} {a} and {b}" for what, a, b in zip(("data", "protocol"), *tags, strict=True) if a != b]
    common = {key: (first.outcomes[key], second.outcomes[key]) for key in first.outcomes if key in second.outcomes}
    differ += [f"{len(a)} and {len(b)} images of {key}" for key, (a, b) in common.items() if len(a) != len(b)]
    if differ:
        raise UserError(
            f"These runs were not judged on the same images under one protocol: {'; '.join(differ)}. Compare runs that "
            "agree in these; protocol=NAME chooses the protocol of a run."
        )
    ours, theirs = (by_score({key: both[side] for key, both in common.items()}) for side in (0, 1))
    return {key: _pair(first, key, ours[key], theirs[key]) for key in ours if key in first.scores}


def table(first: Record, second: Record) -> Table:
    """Table of the comparison, a row for each score that both runs have, except scores of further tables."""
    protocol, tested = first.protocol, pairs(first, second)
    title = ": ".join(filter(None, [f"{first.data}, protocol {protocol.id} (hash {protocol.hash})", protocol.label]))
    comparison = Table("score", "A", "B", "A − B", "only A right", "only B right", "p", "n", title=title)
    # Scores with outcomes per image are paired and tested.
    for pair in tested.values():
        low, high = pair.interval
        shares, alone = (f"{share:.2f} %" for share in pair.shares), map(str, pair.only)
        difference = f"{pair.difference:+.2f} [{low:+.2f}, {high:+.2f}]"
        comparison.add_row(pair.title, *shares, difference, *alone, f"{pair.p:.2g}", str(len(pair.first)))
    for key, score in first.scores.items():
        if key in second.scores and key not in tested and not score.table:
            values = show_value(score), show_value(second.scores[key])
            comparison.add_row(score.title, *values, "–", "–", "–", "–", str(score.n))
    return comparison


def kinship(first: Record, second: Record) -> str:
    """Describe a relation between the runs that changes what a comparison means; empty if there is none."""
    if first.fingerprint == second.fingerprint:
        return "A and B are the same run."
    if first.series == second.series:
        return "A and B are repeats of one experiment: they differ in their seeds alone."
    data = [{key for key in side.overrides if key.lstrip("+~").startswith("data.")} for side in (first, second)]
    if data[0] != data[1]:
        return "A and B differ in their overrides of the data: they compare only if these leave the test images alone."
    return ""


def doubts(first: Record, second: Record) -> list[str]:
    """Return a line for each reason to doubt scores, with the scores that it concerns."""
    scores = ((side, score) for side, run in (("A", first), ("B", second)) for score in run.scores.values())
    pairs = ((f"{score.title} of {side}", warning) for side, score in scores for warning in score.warnings)
    lines = [f"Doubtful: {', '.join(titles)}: {warning}" for warning, titles in group_warnings(pairs).items()]
    mixed = [(side, run.mixed) for side, run in (("A", first), ("B", second)) if run.mixed]
    return lines + [
        f"Doubtful: {side} was made by mixed code: {', '.join(map(file_of, names))}" for side, names in mixed
    ]


def _pair(of: Record, key: str, first: str, second: str) -> Pair:
    return Pair(of.scores[key].title if key in of.scores else key, _bits(first), _bits(second))


def _bits(outcomes: str) -> np.ndarray:
    return np.array([outcome == "1" for outcome in outcomes], dtype=np.int8)


def show_value(score: Score) -> str:
    """Return a score as text: value, unit, and the interval if there is one."""
    digits = 2 if score.unit or abs(score.value) >= 1 else 3
    unit = f" {score.unit}" if score.unit else ""
    interval = "" if score.low is None or score.high is None else f" [{score.low:.{digits}f}, {score.high:.{digits}f}]"
    return f"{score.value:.{digits}f}{unit}{interval}"
