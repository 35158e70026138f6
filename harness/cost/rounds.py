"""A stage's training step, timed in turn with a plain step and with the bare passes of the net."""

import time
from collections.abc import Callable
from copy import copy, deepcopy
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import torch

from harness.core.device import computing
from harness.core.method import Batch
from harness.core.timing import Clock
from harness.core.walk import forward
from harness.cost.memory import peak
from harness.cost.plain_steps import LOSSES, PlainStep
from harness.runs.passes import bare, count_passes
from harness.training.step import Step

OURS, REFERENCE, FLOOR = "harness", "reference", "floor"

DEFAULTS = "reference, torch's defaults"
"""The reference as it runs on a GPU where nothing is set: convolutions use TF32, so it is no fp32 code."""


@dataclass(frozen=True)
class Timing:
    """Time and memory of some work: a step of a stage, sampling, or an attack.

    batch: number of images. seconds: of each variant, by round. sections: seconds of ours, medians over rounds; data is
    fetching a batch. memory: peak bytes of each variant beyond what stays allocated; empty if not measured.
    first: seconds of our first step, which also compiles; 0 if there is no step.
    """

    what: str
    device: str
    batch: int
    standin: bool
    seconds: dict[str, list[float]]
    sections: dict[str, float]
    memory: dict[str, int]
    first: float = 0.0

    @property
    def images_per_second(self) -> float:
        """Labelled images per second of ours, without fetching them."""
        return self.batch / median(self.seconds[OURS])

    def ratio(self, to: str) -> tuple[float, float, float] | None:
        """Time of a variant divided by ours: median over rounds, lowest, highest; None if the variant was not timed."""
        if to not in self.seconds:
            return None
        ratios = [other / ours for ours, other in zip(self.seconds[OURS], self.seconds[to], strict=True)]
        return median(ratios), min(ratios), max(ratios)


def cost(name: str, step: Step, rounds: int, on: str, standin: bool = False) -> Timing:
    """Measure a step of a stage at full length, where it costs most; `on`: name of the device."""
    step.state = step.stage.at_full_length(step.state)
    device = step.inputs.device
    waiting, batch = _fetch(step, rounds)
    plain = deepcopy(step.model)  # not compiled
    usual = deepcopy(plain).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    before = deepcopy(plain.state_dict())
    numbers = cycle(range(step.steps))  # each number has its own random draws, so that no chain grows longer and longer

    def ours() -> object:
        return step(next(numbers), batch)

    def afresh() -> None:
        for model in (step.model, plain, usual):
            model.load_state_dict(before)

    # Count the passes of our step where nothing is compiled; the floor repeats exactly these.
    uncompiled = copy(step)
    uncompiled.model, uncompiled.forward = plain, forward
    with count_passes(plain) as passes:
        uncompiled(next(numbers), batch)
    plain.zero_grad(set_to_none=True)
    variants: dict[str, Callable[[], object]] = {OURS: ours}
    if type(step.stage) in LOSSES:
        state = {key: value.clone() for key, value in step.state.items()}
        reference = PlainStep(step.stage, usual, deepcopy(usual), state)
        variants |= references(lambda: reference.step(batch), device)
    variants[FLOOR] = bare(plain, passes, torch.cat([x.to(device) for x in batch.images.values()]))
    first = _seconds(ours, device)
    seconds, sections = time_in_turn(variants, afresh, rounds, device)
    sections["data"] = median(waiting)
    memory = peak_bytes(variants, device)
    return Timing(f"stage {name}", on, step.stage.training.batch, standin, seconds, sections, memory, first)


def references(plain: Callable[[], object], device: torch.device) -> dict[str, Callable[[], object]]:
    """Return plain code in true fp32, as ours is by default; on a GPU also as it runs by torch's defaults."""

    def in_fp32() -> object:
        with computing("fp32", device):
            return plain()

    return {REFERENCE: in_fp32} | ({DEFAULTS: plain} if device.type == "cuda" else {})


def time_in_turn(
    variants: dict[str, Callable[[], object]], afresh: Callable[[], None], rounds: int, device: torch.device
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return each variant's seconds by round, and the sections of ours; `afresh` is called before each measurement."""
    for work in variants.values():
        afresh()
        work()  # the first call is slower
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    clocks = [Clock(device) for _ in range(rounds)]
    for turn, clock in enumerate(clocks):
        afresh()
        with clock.running():
            variants[OURS]()
        for name in (*variants, *variants)[turn % len(variants) :][: len(variants)]:  # each variant is first in turn
            afresh()
            seconds[name].append(_seconds(variants[name], device))
    return seconds, {name: median(clock.seconds[name] for clock in clocks) for name in clocks[0].seconds}


def peak_bytes(variants: dict[str, Callable[[], object]], device: torch.device) -> dict[str, int]:
    """Return the peak bytes of each variant, beyond what stays allocated."""
    return {name: peak(work, device) for name, work in variants.items()}


def _fetch(step: Step, rounds: int) -> tuple[list[float], Batch]:
    """Return the seconds of each fetch, and a batch; the first fetch, which also opens the files, is not timed."""
    batches, waiting = step.batches(), []
    _, batch = next(batches)
    for _ in range(min(rounds, step.steps - 1)):
        waiting.append(_seconds(lambda: next(batches), step.inputs.device))
    return waiting or [0.0], batch


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    started = now()
    work()
    return now() - started
