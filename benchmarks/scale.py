"""Price the paper's ImageNet study on many GPUs, on paper: python benchmarks/scale.py --gpus 8 64.

Counts what the runs of three recipes do (passes and FLOP of a step, gradients, photographs, checkpoints, evaluation)
and divides it by assumed speeds, each of which is an argument. Needs neither data, nor weights, nor a GPU: nothing is
run on one. Only the preparation of photographs is timed, on this machine, in seconds of one core. Prints markdown.
"""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from types import SimpleNamespace
from typing import Any, cast

import torch
from PIL import Image
from pyautoattack import AutoAttack
from torch import nn

from harness.core.dataset import Branch
from harness.core.registry import build
from harness.cost.disk import disk, size
from harness.cost.planned import Planned
from harness.evaluation import evaluator
from harness.evaluation.metrics.robustness import Robustness
from harness.runs.build import untrained
from harness.runs.compose import compose
from harness.runs.passes import Pass, flop_of_passes, passes_of_step, with_gradient
from harness.runs.run import Run
from harness.training.checkpoint import KEPT

RECIPES = ("resnet50_t15", "wrn50_4_t30", "convnext_l")
"""The recipes, without the beginning of their names, imagenet256_atjem_."""

PHOTOGRAPHS: dict[Branch, tuple[int, int]] = {"labelled": (375, 500), "real": (375, 500), "outliers": (768, 1024)}
"""Height and width of a usual photograph of ImageNet, and of Open Images, from which outliers come."""


@dataclass(frozen=True)
class Load:
    """The work of a step of a stage, on any number of GPUs.

    passes: images that pass the net with a gradient. flop: of all passes. sequence: passes one after the other, each of
    a whole batch or of several. images: photographs to read and prepare. gradients: bytes that all GPUs average, once.
    """

    passes: int
    flop: float
    sequence: int
    images: int
    gradients: int


@dataclass(frozen=True)
class Speeds:
    """What is assumed. tflops, cores: of a GPU. prepared: photographs a second of a core. link, storage, copy: bytes/s.

    link: of a GPU's network. storage: of the file system that all share. copy: from a GPU to its host.
    """

    tflops: float
    cores: int
    prepared: float
    photograph: float
    link: float
    storage: float
    copy: float

    def seconds(self, load: Load, gpus: int) -> dict[str, float]:
        """Seconds of a step on so many GPUs, by term, if nothing else limited it."""
        return {
            "compute": load.flop / (gpus * self.tflops * 1e12),
            "all-reduce": 2 * (gpus - 1) / gpus * load.gradients / self.link,
            "decoding": load.images / (gpus * self.cores * self.prepared),
            "reading": load.images * self.photograph / self.storage,
        }

    def cores_needed(self, load: Load) -> float:
        """Cores for each GPU at which decoding takes as long as computing; the same on any number of GPUs."""
        return load.images / self.prepared / (load.flop / (self.tflops * 1e12))

    def limits(self, load: Load) -> dict[str, float]:
        """Number of GPUs at which a term takes as long as computing."""
        alone = load.flop / (self.tflops * 1e12)
        return {
            "all-reduce": 1 + alone * self.link / (2 * load.gradients),
            "reading": alone * self.storage / (load.images * self.photograph),
        }


@dataclass(frozen=True)
class Job:
    """A part of an evaluation: equal pieces, which processes take one by one. flop: of a piece."""

    name: str
    pieces: int
    flop: float

    def hours(self, gpus: int, tflops: float) -> float:
        """Hours on so many GPUs, the last round of pieces included."""
        return ceil(self.pieces / gpus) * self.flop / (tflops * 1e12) / 3600


def load_of(run: Run, full: bool) -> Load:
    """The work of a step of a run's last stage: at its beginning, or with its walks at full length."""
    stage = run.stage_runs[-1].stage
    _, passes = passes_of_step(stage, full)
    images = sum(stage.training.size(stream) for stream in stage.streams)
    gradients = sum(p.numel() * p.element_size() for p in untrained(run, "meta").parameters())
    flop, sequence = flop_of_passes(run, passes), sum(n for one, n in passes.items() if one.kind != "forward")
    return Load(with_gradient(passes), flop, sequence, images, gradients)


def passes_of_autoattack(attack: AutoAttack) -> tuple[int, int]:
    """Input gradients, and forwards alone, of an image that withstands the standard version.

    Left out: a few forwards at the start of each attack and target, and between attacks.
    """
    ce, targeted, fab = attack.apgd, attack.apgd_targeted, attack.fab
    targets = targeted.n_target_classes * targeted.n_restarts
    borders = fab.n_target_classes * fab.n_restarts * fab.n_iter
    gradients = ce.n_restarts * (ce.n_iter + 1) + targets * (targeted.n_iter + 1) + borders
    return gradients, borders + attack.square.n_queries * attack.square.n_restarts


def evaluation_of(run: Run) -> list[Job]:
    """Sampling, and AutoAttack if every image withstands it; other metrics take about a twentieth of it."""

    def flop(gradients: int, forwards: int = 0) -> float:
        walked, passed = Pass("input gradient", gradients, True, "fp32"), Pass("forward", forwards, True, "fp32")
        return flop_of_passes(run, Counter([walked, passed]))

    # Samples, and those by which the number of the sampler's steps is chosen.
    protocol, steps = run.config.protocol, int(cast(Any, run.method).sampler.steps)
    how, choice = evaluator.sampling(protocol), evaluator.selection(protocol)
    jobs = [Job(f"{how.count:,} samples of {steps} steps", ceil(how.count / how.chunk), flop(how.chunk * steps))]
    if choice:
        candidates, pieces = choice.candidates(steps), ceil(choice.count / how.chunk)
        mean = sum(candidates) / len(candidates)
        walked = flop(round(how.chunk * mean))
        jobs.append(Job(f"choice among {len(candidates)} numbers of steps", pieces * len(candidates), walked))

    # Attacks: each chunk is a piece.
    for metric in evaluator.metrics(protocol).values():
        if isinstance(metric, Robustness):
            count = metric.count or run.data.length(metric.split)
            subject: Any = SimpleNamespace(model=nn.Identity(), data=run.data, device="cpu")
            gradients, forwards = passes_of_autoattack(metric.autoattack(subject))
            work = flop(metric.chunk * gradients, metric.chunk * forwards)
            jobs.append(Job(f"AutoAttack {metric.norm}, {count:,} images", ceil(count / metric.chunk), work))
    return jobs


def photographs_a_second(run: Run, each: int = 8) -> float:
    """Photographs that a second of one core's time prepares, over all streams: decoded, cropped, resized, flipped."""
    data, seconds, made = build("data", run.config.data), 0.0, 0
    for branch, (height, width) in PHOTOGRAPHS.items():
        # Coarse random colours with fine noise, which compress about as well as a photograph.
        coarse = torch.rand(1, 3, height // 25, width // 25)
        smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
        pixels = 255 * (smooth + 0.08 * torch.randn(3, height, width)).clamp(0, 1)
        file = BytesIO()
        Image.fromarray(pixels.byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=85)
        print(f"{branch}: JPEGs of {width}x{height}, {size(len(file.getvalue()))}", end="; ")
        # The first one is not timed.
        for seed in range(each + 1):
            started = time.process_time()
            data.prepare(Image.open(BytesIO(file.getvalue())), branch, seed)
            seconds += (time.process_time() - started) * (seed > 0)
        made += each
    print(f"{made / seconds:.0f} prepared a second of one core\n")
    return made / seconds


def table(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> None:
    """Print a markdown table, its numbers with three digits."""

    def cell(value: str | float) -> str:
        return value if isinstance(value, str) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

    for row in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(map(cell, row))} |")
    print()


def totals(run: Run, speeds: Speeds, evaluation_tflops: float, gpus: int) -> dict[str, float]:
    """Hours of a run on so many GPUs, by term: of each step's terms, of saving, and of the evaluation."""
    load = load_of(run, True)
    hours = {term: steps_of(run) * seconds / 3600 for term, seconds in speeds.seconds(load, gpus).items()}
    # Photographs are prepared beside the step; a save lasts as long as the copy to the host.
    training = max(hours["compute"] + hours["all-reduce"], hours["decoding"], hours["reading"])
    saving = training / run.config.checkpoint_seconds * checkpoint_bytes(run) / speeds.copy
    evaluation = sum(job.hours(gpus, evaluation_tflops) for job in evaluation_of(run))
    return {**hours, "checkpoints": saving, "evaluation": evaluation, "whole": training + saving + evaluation}


def steps_of(run: Run) -> int:
    """Steps of a run's last stage."""
    return run.stage_runs[-1].stage.training.steps(run.data.length("train"))


def checkpoint_bytes(run: Run) -> int:
    """Bytes of a checkpoint: weights, their average, and the optimiser's moments."""
    return disk(run).meanwhile // (KEPT + 1)


def main() -> None:
    """Count, divide, and print four tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=RECIPES, help="imagenet256_atjem_…")
    parser.add_argument("--gpus", nargs="+", type=int, default=(8, 64))
    # The speeds, all of them assumed.
    for name, default, text in (
        ("--tflops", 150, "sustained by a GPU in training, in bf16"),
        ("--evaluation-tflops", 30, "sustained by a GPU in evaluation, which is always in fp32"),
        ("--cores", 16, "CPU cores for each GPU that prepare photographs, as workers=16"),
        ("--prepared", None, "photographs a second of a core; measured here by default"),
        ("--photograph-kb", 170, "kB of a file, on average: 110 of ImageNet's, 300 of a third, which are outliers"),
        ("--storage", 2, "GB/s that the shared file system gives to all GPUs together"),
        ("--link", 25, "GB/s of the network of a GPU, one way"),
        ("--copy", 10, "GB/s from a GPU to its host"),
        ("--disk", 0.5, "GB/s at which a checkpoint is hashed and written, beside the training"),
    ):
        parser.add_argument(name, type=float, default=default, help=f"{text} (default: {default})")
    asked = parser.parse_args()

    # Plan the runs, and gather the speeds.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    runs = {name: Planned(compose([f"experiment=imagenet256_atjem_{name}"])[0]) for name in asked.recipes}
    prepared = asked.prepared or photographs_a_second(next(iter(runs.values())))
    link, storage, copy = 1e9 * asked.link, 1e9 * asked.storage, 1e9 * asked.copy
    speeds = Speeds(asked.tflops, asked.cores, prepared, 1e3 * asked.photograph_kb, link, storage, copy)
    loads = {name: (load_of(run, False), load_of(run, True)) for name, run in runs.items()}

    # What is counted.
    table(
        ("joint stage", "steps", "photographs a step", "passes a step, first to last", "TFLOP a step", "EFLOP at most",
         "passes in turn for each all-reduce", "gradients", "checkpoint, s to copy, s to write"),
        [
            (name, steps := steps_of(runs[name]), most.images, f"{least.passes:,} to {most.passes:,}",
             f"{least.flop / 1e12:,.0f} to {most.flop / 1e12:,.0f}", steps * most.flop / 1e18,
             f"{least.sequence} to {most.sequence}", size(most.gradients),
             f"{size(n := checkpoint_bytes(runs[name]))}, {n / speeds.copy:.2g}, {n / asked.disk / 1e9:.2g}")
            for name, (least, most) in loads.items()
        ],
    )  # fmt: skip

    # Hours by term, walks at full length.
    rows: list[list[str | float]] = []
    for name, run in runs.items():
        for gpus in asked.gpus:
            hours = totals(run, speeds, asked.evaluation_tflops, gpus)
            whole = hours.pop("whole")
            first, second, *_ = sorted(hours, key=lambda term: -hours[term])
            rows.append([f"{name}, {gpus} GPUs", *hours.values(), whole, first, second])
    terms = ("compute", "all-reduce", "decoding", "reading", "checkpoints", "evaluation", "whole")
    table(("hours", *terms, "largest", "next"), rows)

    # Where another term overtakes computing, in the first steps and at full length.
    limits = {
        f"{name}, {when} steps": (speeds.cores_needed(load), *speeds.limits(load).values())
        for name, both in loads.items()
        for when, load in zip(("first", "last"), both, strict=True)
    }
    columns = ("a term equals compute", "cores for each GPU: decoding", "GPUs: all-reduce", "GPUs: reading")
    table(columns, [(name, *numbers) for name, numbers in limits.items()])

    # The evaluation.
    table(
        ("evaluation", "pieces", "EFLOP", *(f"hours on {gpus}" for gpus in asked.gpus)),
        [
            (f"{name}: {job.name}", job.pieces, job.pieces * job.flop / 1e18,
             *(job.hours(gpus, asked.evaluation_tflops) for gpus in asked.gpus))
            for name, run in runs.items()
            for job in evaluation_of(run)
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
