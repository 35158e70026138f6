"""Compute parts of a run's record again, from its weights or its samples, and compare them with what it says.

Outcomes and pixels must be equal, scores and figures up to `CLOSE`. What a metric gives for each image is compared
shard by shard. A metric that only gives scores of the whole is compared once all its shards are computed; if they are
not, the result says so. What was selected (the sampler's number of steps, settings of the recipe) is not chosen again.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch

from harness.core.device import full_precision
from harness.core.errors import CanaryFailed, Damaged, Diverged, UserError, out_of_memory, printable
from harness.core.reading import read_file
from harness.evaluation.evaluator import SAMPLES, Evaluation, metrics, sampling
from harness.evaluation.intervals import share
from harness.evaluation.metric import Metric, Result, Subject
from harness.evaluation.randomised import NAMED
from harness.evaluation.reference import data_digests
from harness.evaluation.samples import Samples, draw, eight_bits
from harness.evaluation.score import Score
from harness.evaluation.selection import with_chosen_steps
from harness.runs import build, changed, record, trust
from harness.runs.code import file_of
from harness.runs.folder import has_record
from harness.runs.origin import code_version, hardware, origin
from harness.runs.record import Record
from harness.runs.run import Run
from harness.runs.trust import Comparison, Verified

CLOSE = {"rel_tol": 1e-3, "abs_tol": 1e-4}
"""How far apart two figures may be: sums are added in another order on another machine."""

SHOWN = 5
"""The most differences of one comparison that its note names."""

Shards = int | Literal["all"]
Hear = Callable[[str], None]


@dataclass(frozen=True)
class Verification:
    """The verification of one run.

    evaluation: None if the run's weights are not here, or if its method has none. samples: all of them, stored or drawn
    again; None if there are none. metrics: of the protocol, by entry name. lacking: what this machine lacks for some of
    them. shards: of each metric, at most. choose: the generator that chooses them.
    """

    run: Run
    found: Record
    subject: Subject
    evaluation: Evaluation | None
    samples: Samples | None
    metrics: Mapping[str, Metric]
    lacking: Mapping[str, str]
    shards: Shards
    choose: random.Random
    hear: Hear

    def comparisons(self) -> Iterator[Comparison]:
        """Compare everything, the cheapest first."""
        yield self._config()
        yield _same_texts("data", self.found.data_used, data_digests(self.run.data), "splits")
        if self.evaluation:
            yield self._weights()
        yield self._known_scores()
        yield self._guarded("canaries", self._canaries)
        if "generate" in self.run.gives:
            yield self._guarded(SAMPLES, self._drawn)
        for name, metric in self.metrics.items():
            self.hear(name)
            yield self._guarded(name, lambda name=name, metric=metric: self._metric(name, metric))
        if opened := {name: features.digest for name, features in self.subject.opened.items()}:
            yield _same_texts("extractors", self.found.extractors, opened, "files")

    def _guarded(self, what: str, compare: Callable[[], Comparison]) -> Comparison:
        """A comparison; one that ends in an error of the numbers, or of a damaged file, is a difference."""
        try:
            return compare()
        except (CanaryFailed, Diverged, Damaged, ValueError, RuntimeError) as error:
            if out_of_memory(error):
                raise
            return Comparison(what=what, result="differs", note=printable(str(error)))

    def _known_scores(self) -> Comparison:
        """The keys of the record's scores, which must be those of the protocol's metrics."""
        keys = [metric.keys(self.run.data) for metric in self.metrics.values()]
        if not all(keys):
            return _not_compared("keys of scores", "a metric does not say which scores it gives")
        known = {key for some in keys for key in some}
        # Without its weights it is unknown whether a net draws random numbers.
        unknown = sorted(key for key in self.found.scores if not {key, key.removesuffix(NAMED)} & known)
        differing = [f"no metric of the protocol gives {key}" for key in unknown]
        return _comparison("keys of scores", differing, f"{len(self.found.scores)} scores")

    def _config(self) -> Comparison:
        """The fingerprint that the config has now, beside the one in the record."""
        now = Run(self.run.config).fingerprint
        return _same_texts("config", {"fingerprint": self.found.fingerprint}, {"fingerprint": now}, "fingerprint")

    def _weights(self) -> Comparison:
        """The digest of the weights that are here; loading them has compared it with the tensors."""
        stages = self.found.cost.stages if self.found.cost else []
        said = {stage.name: stage.weights for stage in stages[-1:] if stage.weights}
        last = build.last_stage(self.run)
        if last is None:
            return Comparison(what="weights", result="same", over="checkpoint")  # else it would not have been loaded
        return _same_texts("weights", said, {last.name: last.weights}, "last stage")

    def _canaries(self) -> Comparison:
        """The checks before an evaluation."""
        if self.evaluation:
            figures = self.evaluation.canaries()
        else:
            possible = [metric for name, metric in self.metrics.items() if not self._missing(name, metric)]
            figures = {key: value for metric in possible for key, value in metric.check(self.subject).items()}
        # What this machine lacks has no figures here.
        said = self.found.canaries
        if self.lacking or not self.evaluation:
            said = {key: value for key, value in said.items() if key in figures}
        if not figures:
            return _not_compared("canaries", "they need weights")
        return _same_figures("canaries", said, figures)

    def _drawn(self) -> Comparison:
        """Some chunks of the samples, drawn again, beside those that are stored."""
        if reason := self.lacking.get(SAMPLES):
            return _not_compared(SAMPLES, reason)
        stored = Samples(self.run.folder / "samples", sampling(self.run.config.protocol))
        if not self.evaluation or not _complete(stored):
            return _not_compared(SAMPLES, "they are not here" if self.evaluation else "there is no model to draw them")
        differing: list[str] = []
        chosen = self._chosen(len(stored))
        for chunk in chosen:
            self.hear(SAMPLES)
            again = eight_bits(_draw(self.run, self.evaluation, stored.indices(chunk)).cpu())
            unequal = (again != stored[chunk]).flatten(1).any(1).nonzero().flatten().tolist()
            differing += [f"sample {stored.indices(chunk)[place]}" for place in unequal]
        images = sum(len(stored.indices(chunk)) for chunk in chosen)
        return _comparison(SAMPLES, differing, f"{images} of {stored.how.count} images")

    def _metric(self, name: str, metric: Metric) -> Comparison:
        """The outcomes of a metric's chosen shards, or else its scores if all shards can be computed."""
        if missing := self._missing(name, metric):
            return _not_compared(name, missing)
        # Features of stored samples take little time, so that such metrics are always computed whole.
        count = metric.shards(self.subject)
        chosen = list(range(count)) if "classify" not in metric.needs else self._chosen(count)
        parts = {shard: metric.score(self.subject, shard) for shard in chosen}
        results: dict[int, Result] = {}
        if all("outcomes" in part for part in parts.values()):  # of each image, which can be merged from any shards
            results = {shard: metric.merge(self.subject, [part]) for shard, part in parts.items()}
        if results and all(result.outcomes for result in results.values()):
            return self._outcomes(name, results, count)
        if len(parts) < count:
            return _not_compared(
                name, f"it has no outcome for each image, so all of its {count} shards are needed: shards=all"
            )
        scores = metric.merge(self.subject, list(parts.values())).scores
        said = {key: score for key, score in self.found.scores.items() if key in scores}
        return _same_figures(name, _figures(said), _figures(scores), f" of all {count} shards" * (count > 1))

    def _outcomes(self, name: str, results: Mapping[int, Result], count: int) -> Comparison:
        """The outcomes of each image of some shards, and the whole score beside the outcomes that it counts."""
        differing: list[str] = []
        images = total = 0
        for shard, result in results.items():
            for key, here in result.outcomes.items():
                whole = self.found.outcomes.get(key, "")
                # All shards but the last have one size, which bounds the whole.
                fewest = len(here) if count == 1 else (count - 1) * len(here) + 1
                if shard < count - 1 or count == 1:
                    fits = fewest <= len(whole) <= count * len(here)
                    differing += [] if fits else [f"{key} has {len(whole)} outcomes"]
                first = len(whole) - len(here) if shard == count - 1 else shard * len(here)
                said = whole[max(0, first) :][: len(here)].ljust(len(here), "?")
                wrong = [place for place, (a, b) in enumerate(zip(said, here, strict=True)) if a != b]
                differing += [
                    f"{key} of its image {first + place}: {said[place]}, here {here[place]}" for place in wrong
                ]
                total = len(whole)
            images += len(next(iter(result.outcomes.values())))
            # The score of such a metric is the share of ones among its last outcomes.
            (key, *_), last = result.scores, [*result.outcomes][-1]
            counted = share("", self.found.outcomes.get(last) or "0")
            said = {name: score for name, score in self.found.scores.items() if name == key}
            if note := _same_figures(name, _figures(said), _figures({key: counted})).note:
                differing.append(f"{note}, computed from the record's own outcomes {last}")
        return _comparison(name, list(dict.fromkeys(differing)), f"{images} of {total} images")

    def _chosen(self, count: int) -> list[int]:
        """The numbers of the shards to compute, ascending."""
        if self.shards == "all":
            return list(range(count))
        return sorted(self.choose.sample(range(count), min(count, self.shards)))

    def _missing(self, name: str, metric: Metric) -> str:
        """What is not here that a metric needs; empty if nothing is."""
        needed = [(self.evaluation, "its weights", "classify"), (self.samples, "its samples", "generate")]
        missing = [what for there, what, need in needed if need in metric.needs and there is None]
        return f"{' and '.join(missing)} are not here" if missing else self.lacking.get(name, "")


def verify(run: Run, shards: Shards, seed: int, hear: Hear) -> Verified:
    """Compute parts of a run again, and compare them with its record; `seed` chooses the shards.

    UserError if there is no record of scores, or neither weights nor samples.
    """
    if not has_record(run.folder) or (found := record.read(run.folder / "record.json")).state != "done":
        raise UserError(f"{run.name} has no scores to verify: its state is {run.state}.")
    device, stored = build.prepare(run.config), Samples(run.folder / "samples", sampling(run.config.protocol))
    if not (whole := _complete(stored)) and not _has_weights(run):
        raise UserError(
            f"{run.name} has neither weights nor samples here, so nothing can be recomputed. Ask for an archive "
            "with them: python -m harness export RUN weights=true samples=true"
        )
    # Find out what this machine lacks.
    run.data.ready()
    protocol = metrics(run.config.protocol, run.gives)
    needs = sampling(run.config.protocol), run.config.extractors
    lacking = {
        name: _refusal(partial(metric.ready, run.data, *needs)) or _refusal(partial(build.check_judge, run, metric))
        for name, metric in protocol.items()
    }
    if _has_weights(run) and (reason := _refusal(build.outliers(run).ready)):
        lacking |= dict.fromkeys([SAMPLES, *(name for name in protocol if "generate" in protocol[name].needs)], reason)
    lacking = {name: reason for name, reason in lacking.items() if reason}

    # Work in a folder of its own: nothing of the run's is written or trusted, except the number of steps that it chose.
    with TemporaryDirectory() as scratch, full_precision():
        evaluation = _evaluation(run, device, Path(scratch)) if _has_weights(run) else None
        if evaluation:
            evaluation.listed = {name: metric for name, metric in protocol.items() if name not in lacking}
            protocol |= evaluation.metrics  # of a net that draws random numbers, other attacks
        samples = stored if whole else None
        if shards == "all" and samples is None and evaluation and SAMPLES not in lacking:
            samples = _draw_all(run, evaluation, Path(scratch), hear)
        subject = evaluation.subject if evaluation else _without_weights(run, device, stored)
        subject = replace(subject, samples=samples or stored)
        choose = random.Random(seed)
        work = Verification(run, found, subject, evaluation, samples, protocol, lacking, shards, choose, hear)
        comparisons = list(work.comparisons())
    return Verified(
        record=trust.digest(run.folder),
        code=f"{code_version()}, code {changed.of_record(run).digest}",
        hardware=hardware(device),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        metrics=list(protocol),
        comparisons=comparisons,
    )


def _refusal(check: Callable[[], None]) -> str:
    """What this machine lacks, such as an extractor's weights or the images where samples start; empty if nothing."""
    try:
        check()
    except UserError as error:
        return printable(str(error))
    return ""


def _evaluation(run: Run, device: torch.device, folder: Path) -> Evaluation:
    """The evaluation of a run's model, with a folder of its own and the number of steps that the run chose."""
    try:
        evaluation = build.evaluation(run, device)
    except RuntimeError as error:
        raise UserError(f"The weights of {run.name} do not fit its net: {printable(str(error))}") from None
    evaluation.folder = folder
    with suppress(FileNotFoundError):
        (folder / "selection.json").write_bytes(read_file(run.folder / "selection.json"))
    return evaluation


def circumstances(run: Run) -> list[str]:
    """What is not the same here as where a record was made, and may explain a difference: code, packages, hardware."""
    found = record.read(run.folder / "record.json")
    then, now = found.origin, origin(run.config.command, build.prepare(run.config))
    pairs = {key: (getattr(then, key), getattr(now, key)) for key in ("hardware", "device", "threads", "capability")}
    pairs |= {name: (then.packages.get(name, "none"), now.packages[name]) for name in ("torch", "torchvision", "timm")}
    lines = [f"{name}: {before}, here {after}" for name, (before, after) in pairs.items() if before != after]
    if found.code and (modules := found.code.changes(changed.of_record(run))):
        lines.append(f"code: {', '.join(map(file_of, modules))} differ")
    return lines


def _has_weights(run: Run) -> bool:
    """Whether the model of a run is here: the weights of its last stage, or else the checkpoint that it takes."""
    stage = build.last_stage(run)
    if not run.method.has_net:
        return False
    return stage.done if stage else bool(run.config.init) and Path(run.config.init or "").is_file()


def _complete(samples: Samples) -> bool:
    return all(samples.path(chunk).is_file() for chunk in range(len(samples)))


def _without_weights(run: Run, device: torch.device, samples: Samples) -> Subject:
    """What metrics of samples need, without a model."""
    return Subject(
        build.without_net(run),
        run.data,
        device,
        samples=samples,
        cache=run.root / "cache",
        weights=run.config.extractors,
        judge=cache(lambda name: build.judge(run, name, device)),
    )


def _draw(run: Run, evaluation: Evaluation, indices: range) -> torch.Tensor:
    """Samples of some indices, drawn again from the weights as the evaluation drew them."""
    method, subject = with_chosen_steps(run.method, evaluation.folder), evaluation.subject
    classes, seed = len(run.data.classes), evaluation.how.seed
    return draw(method, subject.model, evaluation.state, evaluation.outliers, classes, seed, indices, subject.device)


def _draw_all(run: Run, evaluation: Evaluation, folder: Path, hear: Hear) -> Samples | None:
    """All samples, drawn again into a folder; None if no metric needs them."""
    if not evaluation.needs_samples:
        return None
    samples = Samples(folder / "samples", evaluation.how)
    for chunk in range(len(samples)):
        hear(SAMPLES)
        samples.write(chunk, _draw(run, evaluation, samples.indices(chunk)))
    return samples


def _same_texts(what: str, said: Mapping[str, str], here: Mapping[str, str], unit: str) -> Comparison:
    """Compare texts by their names; what the record does not hold, as older ones, is not compared."""
    if not said:
        return _not_compared(what, "the record does not say")
    differing = [
        f"{name}: {text}, here {here.get(name) or 'none'}" for name, text in said.items() if here.get(name) != text
    ]
    return _comparison(what, differing, f"{len(said)} {unit}" if len(said) > 1 else unit)


def _same_figures(what: str, said: Mapping[str, float], here: Mapping[str, float], of: str = "") -> Comparison:
    """Compare figures by their names; both must have the same names. `of` says what they are computed from."""
    differing = [f"{name} is in only one of them" for name in {*said} ^ {*here}]
    for name in (name for name in said if name in here):
        counts = isinstance(here[name], int)
        if said[name] != here[name] and (counts or not isclose(said[name], here[name], **CLOSE)):
            differing.append(f"{name}: {said[name]:.6g}, here {here[name]:.6g}")
    return _comparison(what, sorted(differing), f"{len(here)} figures{of}")


def _figures(scores: Mapping[str, Score]) -> dict[str, float]:
    """The values of scores, their bounds and their counts, by key."""
    figures: dict[str, float] = {}
    for key, score in scores.items():
        named = {key: score.value, f"{key} low": score.low, f"{key} high": score.high, f"{key} n": score.n}
        figures |= {name: value for name, value in named.items() if value is not None}
    return figures


def _not_compared(what: str, why: str) -> Comparison:
    return Comparison(what=what, result="not compared", note=why)


def _comparison(what: str, differing: Sequence[str], over: str) -> Comparison:
    more = f", and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
    note = printable("; ".join(differing[:SHOWN]) + more, 1000)
    return Comparison(what=what, result="differs" if differing else "same", over=over, note=note)
