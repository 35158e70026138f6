"""Check that runs can be executed, before anything is written."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from torch import nn

from harness.core.device import choose_device, computing
from harness.core.errors import UserError
from harness.core.settings import flatten
from harness.evaluation import evaluator
from harness.evaluation.metric import Metric
from harness.launch.launchers import launcher
from harness.runs import build
from harness.runs.changed import outdated
from harness.runs.folder import OVER, check_locks
from harness.runs.run import Run, fingerprint
from harness.tracking import store, tags
from harness.training import weights as foreign
from harness.training.batches import check_shares

SLOWER = 1.5
"""How many times as long as fp32 a pass in bf16 must take on a CPU to be warned of."""

PROBE_SECONDS = 0.5
"""Seconds that each of the two precisions is timed for."""


def check_all(runs: list[Run]) -> list[Run]:
    """Return the runs without duplicates; UserError, before anything is written, with all that is wrong with them."""
    if not runs:
        raise UserError("The sweep is empty: give at least one value to each swept key, such as seed=0,1,2.")
    unique = {run.fingerprint: run for run in runs}
    _refuse(partial(_check, run) for run in unique.values())
    return list(unique.values())


def ready_to_judge(runs: list[Run]) -> None:
    """Fetch what the runs' protocols need, such as weights of extractors; UserError with all that stands in the way.

    This is checked before training, which may take days.
    """
    _refuse(check for run in _by_evaluation(runs) for check in _checks_of_evaluation(run))


def missing(runs: list[Run]) -> list[str]:
    """What the runs need and this machine lacks: what it is, where it belongs, how to get it. Nothing is fetched."""
    lines: dict[str, None] = {}
    for run in _by_evaluation(runs):
        selection = evaluator.selection(run.config.protocol)
        for part in (*evaluator.metrics(run.config.protocol).values(), *filter(None, [selection])):
            lines |= dict.fromkeys(part.missing(run.config.extractors))
    return list(lines)


def slow_precision(runs: list[Run], slower: Callable[[], float] | None = None) -> list[str]:
    """A line if runs would compute in bf16 on a CPU of this machine that takes much longer for it than for fp32.

    `slower` measures how many times as long it takes; by default it is `bf16_slowdown`, which takes a second.
    """
    if not any(_computes_bf16_here(run) for run in runs):
        return []
    factor = (slower or bf16_slowdown)()
    if factor < SLOWER:
        return []
    return [
        f"bf16 is slow on this CPU: a convolution takes {factor:.1f} times as long as in fp32. "
        "precision=fp32 walk_precision=fp32, or a GPU, is faster."
    ]


def bf16_slowdown() -> float:
    """How many times as long as in fp32 a convolution's pass takes in bf16 on this CPU; draws no random numbers."""
    device = torch.device("cpu")
    images, weights = torch.ones(8, 64, 32, 32), torch.ones(64, 64, 3, 3)
    seconds: list[float] = []
    for precision in ("fp32", "bf16"):
        ordered = images.contiguous(memory_format=torch.channels_last) if precision == "bf16" else images
        times: list[float] = []
        began = time.perf_counter()
        with torch.no_grad(), computing(precision, device):
            # Two passes at least: the first one also prepares.
            while len(times) < 2 or time.perf_counter() - began < PROBE_SECONDS:
                started = time.perf_counter()
                nn.functional.conv2d(ordered, weights, padding=1)
                times.append(time.perf_counter() - started)
        seconds.append(min(times))
    return seconds[1] / seconds[0]


def other_code(runs: list[Run]) -> dict[str, str]:
    """For each run that would not be the same if it were made now, by its name, a sentence on what changed."""
    sentences: dict[str, str] = {}
    for run in runs:
        if run.state != "running" and (parts := outdated(run)):
            roots = [str(part) for part in parts if not part.follows]
            more = ", and what follows from it" if len(roots) < len(parts) else ""
            sentences[run.name] = f"{run.name} is {run.state}, but would not be the same now: {', '.join(roots)}{more}."
    return sentences


def check_code(runs: list[Run]) -> list[str]:
    """A line on each run that is over and was made by other code than the present; none with redo=true.

    UserError if work that other code began would be continued, unless redo=true or mixed=true says how, or if two
    processes could write one run, as the file system takes no locks.
    """
    if any(run.state not in OVER for run in runs):
        check_locks(runs[0].root)
    sentences = other_code([run for run in runs if not run.config.redo and (run.state != "failed" or run.config.retry)])
    over = {run.name for run in runs if run.state in OVER}
    begun = [sentence for name, sentence in sentences.items() if name not in over]
    if begun and not runs[0].config.mixed:
        raise UserError(
            "\n".join(begun) + "\nTo set this aside and make it again: the same command with redo=true. To go on from "
            "it with the present code: mixed=true; such runs are not ranked."
        )
    return [
        f"{sentence} redo=true makes that again, and keeps the old record aside."
        for name, sentence in sentences.items()
        if name in over
    ]


def importable() -> None:
    """Raise UserError if a script is imported by its own child processes, as it lacks the `__main__` guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError('In a script, put what runs below: if __name__ == "__main__":')


def check_passes(run: Run) -> None:
    """Check what a pass of a run's net needs besides files; UserError if the net does not take the images."""
    build.check_net(run)
    if run.method.sampler.precision != "fp32":
        raise UserError("Samples are drawn in fp32, so that their scores compare: drop method.sampler.precision.")


def _refuse(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks; UserError with each distinct message of those that fail."""
    messages: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except UserError as error:
            messages[str(error)] = None
    if messages:
        raise UserError("\n".join(messages))


def _by_evaluation(runs: list[Run]) -> list[Run]:
    """One run for each combination of what evaluations need."""
    needs = ("data", "protocol", "extractors")
    return list({fingerprint([getattr(run.config, part) for part in needs]): run for run in runs}.values())


def _checks_of_evaluation(run: Run) -> Iterator[Callable[[], object]]:
    """The checks before an evaluation, each on its own, so that all that they find is told at once."""
    protocol, weights = run.config.protocol, run.config.extractors
    samples, selection = evaluator.sampling(protocol), evaluator.selection(protocol)
    metrics = evaluator.metrics(protocol)
    yield partial(_check_classes, run)
    for name, metric in metrics.items():
        yield partial(_at_entry, name, partial(metric.ready, run.data, samples, weights))
    if selection:
        yield partial(selection.ready, run.data, weights)
    yield partial(_check_keys, run, metrics)


def _at_entry(name: str, check: Callable[[], object]) -> None:
    """Make a check of a protocol's entry, and name the entry if it fails."""
    try:
        check()
    except UserError as error:
        raise UserError(f"protocol.metrics.{name}: {error}") from None


def _check_classes(run: Run) -> None:
    """UserError if a class has no test image."""
    counts = run.data.labels("test").bincount(minlength=len(run.data.classes)).tolist()
    absent = [name for name, n in zip(run.data.classes, counts, strict=True) if not n]
    if absent:
        names = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        raise UserError(f"The test split of {run.config.data['name']} has no image of {names}: add some.")


def _check_keys(run: Run, metrics: dict[str, Metric]) -> None:
    """UserError if two entries of a protocol give scores of one key, of which only one could be kept."""
    first: dict[str, str] = {}
    shared: dict[tuple[str, str], list[str]] = {}
    for name, metric in metrics.items():
        # An entry that cannot say its keys is refused by its own check.
        with suppress(UserError):
            for key in metric.keys(run.data):
                if (other := first.setdefault(key, name)) != name:
                    shared.setdefault((other, name), []).append(key)
    if shared:
        lines = [
            f"protocol.metrics.{other} and protocol.metrics.{name} both give {', '.join(keys[:3])}"
            f"{', …' * (len(keys) > 3)}: leave one of them out, such as by ~protocol.metrics.{name}."
            for (other, name), keys in shared.items()
        ]
        raise UserError("\n".join(lines))


def _computes_bf16_here(run: Run) -> bool:
    """Whether a run has something left to train in bf16, on a CPU of this machine."""
    if launcher(run.config).elsewhere or all(stage_run.ended for stage_run in run.stage_runs):
        return False
    on_cpu = choose_device(run.config.device).type == "cpu"
    return on_cpu and any(key.endswith("precision") and value == "bf16" for key, value in flatten(run.config.method))


def _check(run: Run) -> None:
    """Build the parts of a run that are cheap to build; UserError if one is wrong."""
    chosen = launcher(run.config)
    if store.enabled(run.config):
        store.uri(run.config)  # refused where it holds a password, or is none
        tags.check_names(run)
    if not chosen.elsewhere:
        choose_device(run.config.device)

    # Data, net, initial weights and outliers.
    if not run.stage_runs and not run.init:
        raise UserError(f"method={run.config.method['name']} trains nothing, so it needs weights: init=PATH.")
    run.data.ready()
    check_passes(run)
    if run.config.init:
        path, model = Path(run.config.init), build.untrained(run, "meta")
        foreign.check(foreign.read(path, foreign.marked(run.init or "")), model.net, path)
    build.outliers(run).ready()

    evaluator.metrics(run.config.protocol)
    evaluator.sampling(run.config.protocol)
    evaluator.selection(run.config.protocol)

    images = run.data.length("train")
    for stage_run in run.stage_runs:
        check_shares(stage_run.stage, chosen.size, run.config.accumulate)
        if stage_run.stage.training.batch > images:
            raise UserError(
                f"method.{stage_run.name}.training.batch={stage_run.stage.training.batch} is larger than the training "
                f"split of {run.config.data['name']}, {images} images: choose a smaller one."
            )
