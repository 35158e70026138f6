"""Series: the runs of one experiment, repeated with different seeds."""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import fsum, nan, sqrt
from statistics import fmean

from harness.core.files import valid_name
from harness.evaluation.score import Score, Selection
from harness.reports import titles
from harness.runs.row import Row


@dataclass(frozen=True)
class Series:
    """Runs that differ only in their seeds, in the order of the seeds."""

    runs: list[Row]

    @property
    def key(self) -> str:
        """The fingerprint of their config without its seed."""
        return self.runs[0].series

    @property
    def label(self) -> str:
        """The title of the method, and the changes to its recipe."""
        return label(self.runs[0])

    @property
    def cite(self) -> str:
        """The BibTeX key of the method's paper; empty if it names none."""
        return titles.cite(self.runs[0].method)

    @cached_property
    def done(self) -> list[Row]:
        """The runs whose numbers count."""
        return [run for run in self.runs if run.state == "done"]

    def scores(self, key: str) -> list[Score]:
        """Return one score of each finished seed that has it."""
        return self._scores.get(key, [])

    @cached_property
    def _scores(self) -> dict[str, list[Score]]:
        scores: dict[str, list[Score]] = defaultdict(list)
        for run in self.done:
            for key, score in run.scores.items():
                scores[key].append(score)
        return scores

    @cached_property
    def not_given(self) -> set[str]:
        """Keys of scores that the method cannot have, as it gives no logits or no samples."""
        return {key for run in self.done for key in run.not_given}

    def mean(self, key: str) -> float:
        """Return the mean over seeds; NaN if there is none."""
        values = [score.value for score in self.scores(key)]
        return fmean(values) if values else nan

    def sd(self, key: str) -> float:
        """Return the sample standard deviation over seeds; NaN if there are fewer than two."""
        mean, values = self.mean(key), [score.value for score in self.scores(key)]
        squares = fsum((value - mean) ** 2 for value in values)
        return sqrt(squares / (len(values) - 1)) if len(values) > 1 else nan

    @property
    def seeds(self) -> str:
        """Number of finished seeds out of all, and the states of the others."""
        states = [run.state for run in self.runs]
        others = [f", {states.count(state)} {state}" for state in dict.fromkeys(states) if state != "done"]
        return f"{len(self.done)}/{len(states)}" + "".join(others)

    @property
    def finished(self) -> bool:
        """Whether all seeds are done."""
        return len(self.done) == len(self.runs)

    @property
    def state(self) -> str:
        """All states of its runs, and whether they were imported and verified."""
        return ", ".join(dict.fromkeys(run.provenance for run in self.runs))

    @cached_property
    def barred(self) -> bool:
        """Whether the series is shown but not ranked."""
        return barred(self.runs)

    @property
    def doubtful(self) -> bool:
        """Whether a run is of mixed code or out of date."""
        return any(run.doubts for run in self.runs)

    def warnings(self, keys: Collection[str] | None = None) -> Iterator[tuple[str, str]]:
        """Yield the title of each doubtful score, and the reason; of some keys, or of all."""
        scores = (score for run in self.done for key, score in run.scores.items() if keys is None or key in keys)
        yield from ((score.title, warning) for score in scores for warning in score.warnings)

    def footnotes(self) -> Iterator[str]:
        """Yield the reasons, selections and notes of its runs, with the seeds if they do not apply to all."""
        seeds: dict[str, list[str]] = defaultdict(list)
        for run in self.runs:
            if run.reason:
                yield f"{self.label}, seed {run.seed}: {run.state}, {run.reason}"
            for note in origin(run):
                seeds[note].append(str(run.seed))
        for note, names in seeds.items():
            yield note if len(names) == len(self.runs) else f"{note} (seed{'s' * (len(names) > 1)} {', '.join(names)})"


def label(run: Row) -> str:
    """Return the title of a run's method, and the changes to its recipe."""
    method = titles.title(run.method)
    return f"{method} ({run.overrides})" if run.overrides else method


def barred(runs: Sequence[Row]) -> bool:
    """Return whether runs are not ranked: something was chosen on the test split, or one of them is doubtful."""
    return tuned_on_test(runs) or any(run.doubts for run in runs)


def tuned_on_test(runs: Iterable[Row]) -> bool:
    """Return whether something was chosen on the test split."""
    return any("test" in choice.split for run in runs for choice in run.selection.values())


def judged(run: Row) -> tuple[str, str, str]:
    """Return dataset, protocol and its hash: only runs that agree in these are compared."""
    return run.data, run.protocol.id, run.protocol.hash


PLAIN = re.compile(
    r"(?!stability-)([^-+]+)-([^+]+)-([^-+]+)"  # a section: dataset, protocol, hash
    r"|stability-([^-+]+)-([^+]+)-([0-9a-f]{12}|[A-Z]+)-([^+]+)"  # a study: its factors too; a hash is hex or capitals
)
"""Names of pages from which their parts can be read."""


def page_name(run: Row) -> str:
    """Return the stem of the file names of a run's section or study; UserError if it cannot name a file.

    No two have the same: where a hyphen within a part could be taken for one between parts, a digest follows.
    """
    parts = [*judged(run), *(["-".join(sorted(run.study))] if run.study else [])]
    name = "-".join(["stability"] * bool(run.study) + parts)
    match = PLAIN.fullmatch(name)
    is_plain = match and [part for part in match.groups() if part is not None] == parts
    if not is_plain or any("-" in factor for factor in run.study):
        name += f"+{sha256(json.dumps([judged(run), sorted(run.study)]).encode()).hexdigest()[:16]}"
    return valid_name(name)


def title(run: Row) -> str:
    """Format the dataset and protocol that the runs of a section share."""
    return "{}, protocol {} (hash {})".format(*judged(run))


def said(runs: Iterable[Row]) -> str:
    """Return the labels of the runs' protocols, which must appear with their numbers; empty if there are none."""
    return " and ".join(sorted({run.protocol.label for run in runs} - {""}))


def daggers(series: Iterable[Series], keys: Collection[str] | None = None) -> Iterator[str]:
    """Yield a line for each reason to doubt numbers, with the scores and the methods that it concerns.

    keys: those of the scores whose numbers are shown; None for all.
    """
    methods: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for one in series:
        for doubt in one.warnings(keys):
            methods[doubt][one.label] = None
    scores: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (title, warning), labels in methods.items():
        scores[warning, ", ".join(labels)].append(title)
    yield from (f"† {', '.join(titles)}: {warning} ({labels})" for (warning, labels), titles in scores.items())


def origin(run: Row) -> Iterator[str]:
    """Yield why a run is doubtful, where it is from, what was chosen for it and how, then its deviations."""
    yield from (f"† {label(run)}, {doubt}: not ranked" for doubt in run.doubts)
    if run.imported:
        yield f"{label(run)}, imported {run.imported}: {'' if run.verified else 'not '}verified here"
    if run.verified:
        yield f"{label(run)}, verified {run.verified}"
    yield from (f"{label(run)}, {what}: {_describe(choice)}" for what, choice in run.selection.items())
    yield from (f"{label(run)}, {what}: {note}" for what, note in run.notes.items())


def _describe(how: Selection) -> str:
    """Describe a choice; add the splits unless the text, as in older records, names them itself."""
    if not how.split:
        return how.by
    named = all(re.search(rf"\b{split}\b", how.by) for split in how.split)
    on = "" if named else f", on {' and '.join(how.split)}"
    return f"chosen by {how.by}{on}" + (": not ranked" if "test" in how.split else "")
