"""Transfer attacks: adversarial images of runs, kept in their folders, and how other runs classify them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from harness.core.device import full_precision
from harness.core.errors import Damaged, UserError, near
from harness.core.files import locked_file
from harness.core.tensors import load_tensors, save_tensors
from harness.evaluation import randomised
from harness.evaluation.evaluator import metrics
from harness.evaluation.intervals import bits, share
from harness.evaluation.metric import BATCH, Metric, Subject
from harness.evaluation.metrics.robustness import Robustness
from harness.evaluation.randomised import Randomised
from harness.evaluation.score import Score
from harness.runs import build
from harness.runs.code import components
from harness.runs.run import Run, fingerprint

log = logging.getLogger(__name__)

FOLDER = "adversarial"
"""The folder, inside a run's, of its adversarial images: a folder for each attack, with a file for each shard."""

LARGEST = 4 * 2**30
"""The most bytes of the images of all runs, which are in memory together."""

HEADER = 2**16
"""The most bytes of a file besides its pixels."""

CPU = torch.device("cpu")

Hear = Callable[[str], None]
"""Receives a short text on what is being done."""


@dataclass(frozen=True)
class Matrix:
    """The accuracy of each run on the adversarial images of each run.

    attack: that of all runs. runs: their names. clean: the accuracy of each on the images before the attack. rows: for
    each attacked run, the accuracies of all runs on its images. drawing: the runs whose nets draw random numbers.
    """

    attack: Robustness
    runs: list[str]
    clean: list[Score]
    rows: list[list[Score]]
    drawing: list[str]

    @property
    def masked(self) -> list[tuple[str, str]]:
        """Attacked and judged run where the images break more than the judged run's own, beyond the 95 % interval."""
        return [
            (attacked, judged)
            for attacked, row in zip(self.runs, self.rows, strict=True)
            for place, judged in enumerate(self.runs)
            if row[place].value < (self.rows[place][place].low or 0)
        ]


def transfer(runs: Sequence[Run], entry: str | None, count: int, hear: Hear) -> Matrix:
    """Attack `count` images of each run, or read what is kept of it, and let each run classify the images of all.

    entry: which robust accuracy of the runs' protocols; None for the first. UserError if a run has no such attack or no
    trained classifier, or if their data or attacks differ.
    """
    attack = _common_attack(runs, entry, count)
    for run in runs:
        build.require_trained(run, run.stage_runs[-1:])
        run.data.ready()
    with full_precision():
        # Attack one run after the other.
        attacked, drawing = list[Tensor](), list[str]()
        for run in runs:
            subject = _subject(run, lambda text, run=run: hear(f"{run.name}: {text}"))
            metric = randomised.exchange({"": attack}, subject)[""]
            drawing += [run.name] * (metric is not attack)
            attacked.append(_adversarial(run, subject, attack, metric))

        # Let each run judge the clean images, and those of all runs.
        judged: list[list[Score]] = []
        for run in runs:
            hear(f"{run.name} judges")
            subject = _subject(run, hear)
            clean, labels = subject.images(attack.split, attack.indices(subject))
            judged.append([share(run.name, _right(subject, images, labels)) for images in (clean, *attacked)])
    clean, *rows = map(list, zip(*judged, strict=True))
    return Matrix(attack, [run.name for run in runs], clean, rows, drawing)


def _common_attack(runs: Sequence[Run], entry: str | None, count: int) -> Robustness:
    """The attack of all runs; UserError if there is none, or if theirs or their data differ."""
    first, *others = attacks = [_attack(run, entry, count) for run in runs]
    for run, attack in zip(runs[1:], others, strict=True):
        pairs = {"data": (run.identity["data"], runs[0].identity["data"]), "attacks": (attack, first)}
        if differ := [key for key, (one, other) in pairs.items() if one != other]:
            what = " and ".join(differ)
            raise UserError(
                f"{runs[0].name} and {run.name} have different {what}: name runs of one dataset and protocol."
            )
    if (size := len(attacks) * (first.count or 0) * prod(runs[0].data.shape) * 4) > LARGEST:
        raise UserError(f"n={count}: the images would take {size / 2**30:.0f} GiB, and {LARGEST >> 30} is the most.")
    return first


def _attack(run: Run, entry: str | None, count: int) -> Robustness:
    """The attack of a run's protocol, on `count` images at most; UserError if it has none, or the method no logits."""
    found = {name: one for name, one in metrics(run.config.protocol).items() if isinstance(one, Robustness)}
    if "classify" not in run.method.gives:
        raise UserError(f"{run.name} cannot be attacked: method={run.config.method['name']} gives no logits.")
    if (name := entry or next(iter(found), "")) not in found:
        raise UserError(f"protocol={run.config.protocol['id']} of {run.name} has no attack {name}. {near(name, found)}")
    return replace(found[name], count=min(count, found[name].count or count))


def _subject(run: Run, tell: Hear) -> Subject:
    """The trained model of a run with its data, on the device of its config; nothing is written."""
    return replace(build.evaluation(run, build.prepare(run.config)).subject, tell=tell, keep=lambda name, make: make())


def _adversarial(run: Run, subject: Subject, attack: Robustness, metric: Metric) -> Tensor:
    """The images of a run's attack, N x C x H x W, float32 on the CPU: adversarial where it succeeded, else unchanged.

    metric: what attacks, as `randomised.exchange` says. The images are kept in the run's folder, unrounded, as rounding
    would undo some. They are made again if the attack, its code or the weights changed, or if a file is damaged.
    """
    assert isinstance(metric, Robustness | Randomised)
    last, indices = build.last_stage(run), attack.indices(subject)
    made_of = [asdict(attack), components([type(metric).__module__]), last.weights if last else run.init]
    folder, shards = run.folder / FOLDER / fingerprint(made_of), list[Tensor]()
    for shard in range(metric.shards(subject)):
        path = folder / f"{shard:05d}.safetensors"
        shape = (len(indices[shard * attack.chunk :][: attack.chunk]), *subject.data.shape)
        with locked_file(path):
            images = _read(path, shape)
            if images is None:
                images = metric.attack(subject, shard)[0].cpu()
                save_tensors(path, {"images": images})
            shards.append(images)
    return torch.cat(shards)


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The images of a file; None if there is none, or with a warning if it does not hold images of this shape."""
    try:
        if not path.exists():
            return None
        if path.stat().st_size > 4 * prod(shape) + HEADER:
            raise Damaged(path, "it is larger than its images")
        images = load_tensors(path, CPU).get("images", torch.empty(0))
        if images.shape != shape or images.dtype != torch.float32 or not ((images >= 0) & (images <= 1)).all():
            raise Damaged(path, f"it does not hold {shape[0]} images in [0, 1]")
    except Damaged as error:
        log.warning("%s It is made again.", error)
        return None
    return images


def _right(subject: Subject, images: Tensor, labels: Tensor) -> str:
    """Which images a model classifies rightly, as ones and zeros."""
    with torch.no_grad():
        classes = [subject.model(batch.to(subject.device)).argmax(1) for batch in images.split(BATCH)]
    return bits(torch.cat(classes) == labels)
