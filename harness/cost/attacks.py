"""Robust evaluation, timed in turn with the usual call of AutoAttack and with the bare passes of the net."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from harness.core.device import full_precision
from harness.core.errors import UserError
from harness.cost.rounds import FLOOR, OURS, REFERENCE, Timing, time_in_turn
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.robustness import Robustness
from harness.runs import build, pace
from harness.runs.passes import bare, count_passes
from harness.runs.run import Run


def measure_attacks(run: Run, device: torch.device, rounds: int, count: int) -> Iterator[Timing]:
    """Yield the cost of each robust accuracy of a run's protocol, on `count` images; UserError if there is none.

    UserError also if the run is untrained: an untrained net fails on most images at once, which leaves later attacks
    nothing to do.
    """
    if any(not stage_run.done for stage_run in run.stage_runs[-1:]):
        raise UserError(f"{run.name} is not trained yet: the same command without `bench` and of=attacks trains it.")
    run.data.ready()
    evaluation = build.evaluation(run, device)
    metrics = {name: metric for name, metric in evaluation.metrics.items() if isinstance(metric, Robustness)}
    if not metrics:
        raise UserError(f"protocol={run.config.protocol['id']} has no attack: choose another protocol=…")
    for name, metric in metrics.items():
        with full_precision():
            yield _cost(name, replace(metric, count=count), evaluation.subject, rounds)


def _cost(name: str, metric: Robustness, subject: Subject, rounds: int) -> Timing:
    x, y = subject.images(metric.split, metric.indices(subject))

    def ours() -> object:
        return [metric.score(subject, shard) for shard in range(metric.shards(subject))]

    def reference() -> object:
        attack = metric.autoattack(subject)
        attack.verbose = False
        return attack.run_standard_evaluation(x, y, batch_size=metric.chunk)

    # Count the passes of our evaluation; the floor repeats exactly these.
    with count_passes(subject.model) as passes:
        ours()
    variants: dict[str, Callable[[], object]] = {OURS: ours, REFERENCE: reference}
    variants[FLOOR] = bare(subject.model, passes, x)
    seconds, sections = time_in_turn(variants, lambda: None, rounds, subject.device)
    return Timing(name, pace.name(subject.device), len(x), False, seconds, sections, {})
