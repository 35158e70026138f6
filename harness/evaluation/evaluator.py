"""The evaluator: a model under one protocol.

A phase consists of pieces, and each piece writes one file, once. A piece draws one chunk of samples or scores one shard
of a metric; the result of a shard is a part, and the parts of a metric are merged into scores.
"""

import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

import torch

from harness.core.dataset import Outliers
from harness.core.errors import Damaged, UserError
from harness.core.files import atomic_write, locked_file, read_checked, valid_name, write_json
from harness.core.method import Ability, Method, State
from harness.core.registry import find, make
from harness.evaluation import canaries, randomised
from harness.evaluation.metric import Metric, Result, Subject
from harness.evaluation.parts import Part, read_mark, read_part, write_part
from harness.evaluation.samples import SHOWN, Samples, Sampling, columns, draw, save_grid
from harness.evaluation.score import Selection
from harness.evaluation.selection import Steps, with_chosen_steps, with_steps
from harness.evaluation.work import Work, counted

log = logging.getLogger(__name__)

Phase = Literal["selection", "samples", "metrics"]
PHASES: tuple[Phase, ...] = get_args(Phase)
"""The phases, in order; the pieces of one phase do not depend on each other."""

SAMPLES = "samples"
"""The name of the code that draws samples, beside the names of metrics."""

KEPT = "kept"
"""The folder, inside a run's, of what the processes of an evaluation share until it ends."""

Tell = Callable[[str], None]


def metrics(protocol: dict[str, Any], gives: Collection[Ability] = get_args(Ability)) -> dict[str, Metric]:
    """The metrics of a protocol that need nothing beside `gives`, by entry name.

    An entry's `metric` field names the metric if its own name does not.
    """
    by_name: dict[str, Metric] = {}
    for name, fields in protocol["metrics"].items():
        given = {key: value for key, value in fields.items() if key != "metric"}
        by_name[valid_name(name)] = make(find("metric", fields.get("metric", name)), f"protocol.metrics.{name}", given)
    return {name: metric for name, metric in by_name.items() if set(metric.needs) <= set(gives)}


def sampling(protocol: dict[str, Any]) -> Sampling:
    """The sampling settings of a protocol."""
    return make(Sampling, "protocol.samples", protocol.get("samples", {}))


def selection(protocol: dict[str, Any]) -> Steps | None:
    """The selection of the sampler's number of steps; None if the protocol uses the recipe's number."""
    fields = protocol.get("selection")
    return make(Steps, "protocol.selection", fields) if fields else None


@dataclass(frozen=True)
class Piece:
    """A unit of work; it is done when its file exists."""

    name: str
    path: Path
    do: Callable[[], None]


def chunks(
    name: str, samples: Samples, made: Callable[[range], torch.Tensor], code: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Piece]:
    """The pieces that draw samples; `made` returns the images of the given indices."""

    def do(chunk: int) -> None:
        started = time.monotonic()
        images = made(samples.indices(chunk)).cpu()
        samples.write(chunk, images, code, round(time.monotonic() - started, 3))

    for chunk in range(len(samples)):
        yield Piece(name, samples.mark(chunk), partial(do, chunk))


class Evaluation:
    """A model under a protocol, on one device; several Evaluations over the same folder may share the work.

    subject: the model, and everything that metrics need. method, state, outliers: the method that draws samples, its
    training state, and the starting images of samples. folder: for pieces, samples and pictures. code: what is noted
    with each piece of the code that makes it: digests for SAMPLES, and for each metric by name. gives: what can be
    judged, if it is not what the method gives.
    """

    def __init__(
        self,
        subject: Subject,
        method: Method,
        state: State,
        outliers: Outliers,
        protocol: dict[str, Any],
        folder: Path,
        code: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        gives: Collection[Ability] | None = None,
    ) -> None:
        self.tell: Tell = subject.tell
        # The workers point `tell` at the piece in progress, so it is looked up at each call.
        self.subject = replace(subject, tell=lambda text: self.tell(text), draw=self._draw_longer, keep=self._keep)
        self.method, self.state, self.outliers, self.folder = method, state, outliers, folder
        self.listed, self.how, self.code = metrics(protocol, gives or method.gives), sampling(protocol), code
        self.selects = selection(protocol) if self.needs_samples else None

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The protocol's metrics that the method has, by entry name; a net that draws is attacked otherwise."""
        return randomised.exchange(self.listed, self.subject)

    @property
    def needs_samples(self) -> bool:
        """Whether a metric evaluates samples."""
        return any("generate" in metric.needs for metric in self.listed.values())

    def canaries(self) -> dict[str, float]:
        """Check that the numbers will be meaningful; CanaryFailed if not."""
        figures: dict[str, float] = {}
        if "classify" in self.method.gives:
            # Where all that is judged are validation images, the test split is left alone here too.
            splits = {getattr(metric, "split", None) for metric in self.metrics.values()} - {None}
            figures |= canaries.check_classifier(self.subject, "validation" if splits == {"validation"} else "test")
        if self.needs_samples:
            self._draw(self.method, range(2))  # raises if their shape or values are wrong
        for metric in self.metrics.values():
            figures |= metric.check(self.subject)
        return figures

    def remove_damaged(self) -> None:
        """Remove the marks of pieces that are not what was written, so that they are made again; log each."""
        _remove_if_damaged(self.folder / "selection.json")  # first, as the other pieces depend on it
        for phase in PHASES:
            for piece in self.pieces(phase):
                _remove_if_damaged(piece.path)

    def pieces(self, phase: Phase) -> list[Piece]:
        """The pieces of a phase, in a fixed order."""
        return list({"selection": self._selection, "samples": self._samples, "metrics": self._parts}[phase]())

    def finish(self, phase: Phase) -> Path | None:
        """Do the work that follows all pieces of a phase; return the file that later phases read, or None."""
        if phase == "selection" and self.selects and self.selects.candidates(self.method.sampler.steps):
            self.selects.choose(
                self.subject, self.folder, self.how, self.method.sampler.steps, self.code.get(SAMPLES, {})
            )
        if phase == "samples" and self.needs_samples:
            classes = len(self.subject.data.classes)
            save_grid(self.subject.samples.first(SHOWN * columns(classes)), classes, self.folder / "samples.png")
        chosen = self.folder / "selection.json"
        return chosen if chosen.exists() else None

    def merge(self) -> tuple[Result, float]:
        """Merge all scores and outcomes, with the seconds they took; write pictures and tables to the run's folder."""
        total, seconds, drawn = Result({}), 0.0, set[str]()
        for name, metric in self.metrics.items():
            started = time.monotonic()
            # Merge the metric's parts; two entries must not give the same score.
            parts = [read_part(self._path(name, shard)) for shard in range(metric.shards(self.subject))]
            result = metric.merge(self.subject, parts)
            if shared := result.scores.keys() & total.scores.keys():
                raise UserError(f"protocol.metrics.{name} gives {min(shared)}, which an entry before it gives already.")
            total.scores.update(result.scores)
            total.outcomes.update(result.outcomes)
            for picture, write in result.pictures.items():
                own = f"{picture}-{name}" if picture in drawn else picture  # that of an entry before it stays
                drawn.add(picture)
                with atomic_write(self.folder / f"{own}.png") as temporary:
                    write(temporary)
            for table, lines in result.tables.items():
                write_json(self.folder / f"{table}.json", lines)
            seconds += sum(part["seconds"] for part in parts) + time.monotonic() - started
        shutil.rmtree(self.folder / KEPT, ignore_errors=True)
        return total, seconds

    def work_of_sampling(self) -> Work:
        """What one sample takes: it is drawn once more."""
        with counted(self.subject.model) as work:
            self._draw(with_chosen_steps(self.method, self.folder), range(1))
        return work

    def selections(self) -> dict[str, Selection]:
        """The selections made during the evaluation."""
        return self.selects.selection(self.folder) if self.selects else {}

    def summary(self, name: str) -> str:
        """A short progress text from the finished parts of a metric."""
        if name not in self.metrics:
            return ""
        metric = self.metrics[name]
        paths = [self._path(name, shard) for shard in range(metric.shards(self.subject))]
        done = [read_checked(path) for path in paths if path.exists()]
        return metric.summary(self.subject, done) if done else ""

    def _selection(self) -> Iterator[Piece]:
        if self.selects is None or (self.folder / "selection.json").exists():
            return
        for steps in self.selects.candidates(self.method.sampler.steps):
            samples = self.selects.samples(self.folder, self.how, steps)
            yield from self._chunks(f"samples of {steps} steps", samples, with_steps(self.method, steps))

    def _samples(self) -> Iterator[Piece]:
        if self.needs_samples:
            yield from self._chunks("samples", self.subject.samples, with_chosen_steps(self.method, self.folder))

    def _chunks(self, name: str, samples: Samples, method: Method) -> Iterator[Piece]:
        return chunks(name, samples, lambda indices: self._draw(method, indices), self.code.get(SAMPLES, {}))

    def _draw(self, method: Method, indices: range) -> torch.Tensor:
        classes, seed = len(self.subject.data.classes), self.how.seed
        return draw(method, self.subject.model, self.state, self.outliers, classes, seed, indices, self.subject.device)

    def _draw_longer(self, factor: int, indices: range) -> torch.Tensor:
        method = with_chosen_steps(self.method, self.folder)
        return self._draw(with_steps(method, factor * method.sampler.steps), indices)

    def _parts(self) -> Iterator[Piece]:
        for name, metric in self.metrics.items():
            for shard in range(metric.shards(self.subject)):
                yield Piece(name, self._path(name, shard), partial(self._score, name, shard))

    def _score(self, name: str, shard: int) -> None:
        started = time.monotonic()
        part = self.metrics[name].score(self.subject, shard)
        content = {"seconds": round(time.monotonic() - started, 2), **part}
        write_part(self._path(name, shard), content, self.code.get(name, {}))

    def _keep(self, name: str, make: Callable[[], Part]) -> Part:
        """A part that all processes of the evaluation share; made again if the weights or their code changed since."""
        path, code = self.folder / KEPT / f"{name}.json", dict(self.code.get(SAMPLES, {}))
        with locked_file(path):
            _remove_if_damaged(path)
            if not path.exists() or read_mark(path)["code"] != code:
                write_part(path, make(), code)
            return read_part(path)

    def _path(self, name: str, shard: int) -> Path:
        return self.folder / "parts" / name / f"{shard:05d}.json"


def _remove_if_damaged(mark: Path) -> None:
    try:
        if mark.exists():
            read_mark(mark)
    except Damaged as error:
        log.warning("%s It is made again.", error)
        mark.unlink()
