"""Check that runs can be executed, before anything is written."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import torch
from torch import nn

from harness.core import registry
from harness.core.dataset import Dataset
from harness.core.device import choose_device, computing
from harness.core.errors import UserError, short
from harness.core.files import check_locks
from harness.core.loader import check_sharing
from harness.core.settings import flatten
from harness.core.text import counted
from harness.evaluation import evaluator
from harness.evaluation.metric import Metric
from harness.evaluation.selection import with_steps
from harness.launch.launchers import launcher
from harness.runs import build, fetch
from harness.runs.changed import outdated
from harness.runs.execute import described
from harness.runs.folder import OVER, failure_reason, readable
from harness.runs.record import Origin, Record
from harness.runs.run import UNKNOWN, Run, fingerprint
from harness.tracking import store, tags
from harness.training import weights as foreign
from harness.training.batches import check_shares

SLOWER = 1.5
"""How many times as long as fp32 a pass in bf16 must take on a CPU to be warned of."""

MEANT_OTHERWISE = ("?", "#", "%", "\n")
"""Characters that part a URI, or stand for something else in one, or in the paths of SLURM's logs."""

NAME = 100 * "x"
"""A name as long as those of runs may be."""

PROBE_SECONDS = 0.5
"""Seconds that each of the two precisions is timed for."""


def check_all(runs: list[Run]) -> list[Run]:
    """Return the runs without duplicates; UserError, before anything is written, with all that is wrong with them."""
    unique = _different(runs)
    _refuse(partial(_check, run) for run in unique)
    return unique


def check_plan(runs: list[Run]) -> list[Run]:
    """Return the runs without duplicates; UserError with all that is wrong with them, except for missing files."""
    unique = _different(runs)
    for run in unique:
        _refuse(partial(check, run) for check in (check_settings, _check_init, _check_batches))
    return unique


def lacking(runs: list[Run]) -> list[str]:
    """What is wrong with the files of runs: data, weights or outliers are missing, or not those that are needed."""
    checks: list[Callable[[], object]] = []
    for run in runs:
        data = registry.build("data", run.config.data)  # run.data may be a stand-in
        checks += [partial(_check_data, run, data), partial(_check_outliers, run)]
        checks += [partial(fetch.require_here, run.config.init)] if run.config.init else []
    return _messages(checks)


def ready_to_judge(runs: list[Run]) -> None:
    """Fetch what the runs' protocols need, such as weights of extractors; UserError with all that stands in the way.

    This is checked before training, which may take days.
    """
    checks = [check for run in _by_evaluation(runs) for check in _checks_of_evaluation(run)]
    _refuse([*checks, *(check for run in runs for check in _checks_of_judges(run))])


def missing(runs: list[Run]) -> list[str]:
    """What the runs need and this machine lacks: what it is, where it belongs, how to get it. Nothing is fetched."""
    lines: dict[str, None] = {}
    for run in _by_evaluation(runs):
        selection = evaluator.selection(run.config.protocol)
        for part in (*evaluator.metrics(run.config.protocol, run.gives).values(), *filter(None, [selection])):
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
        "To go faster, set precision=fp32 walk_precision=fp32, or use a GPU."
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
            more = ", and everything that depends on it" if len(roots) < len(parts) else ""
            sentences[run.name] = f"{run.name} is {run.state}, but it is out of date: {', '.join(roots)}{more}."
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
            "\n".join(begun) + "\nTo set this aside and start again, add redo=true to the command. To continue it with "
            "the present code, add mixed=true; such runs are not ranked."
        )
    return [
        f"{sentence} redo=true does this part again, and keeps the old record."
        for name, sentence in sentences.items()
        if name in over
    ]


def importable() -> None:
    """Raise UserError if a script is imported by its own child processes, as it lacks the `__main__` guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError('In a script, put what runs below: if __name__ == "__main__":')


def check_settings(run: Run) -> None:
    """Build all that a run builds, down to its record, but for what needs files; UserError if one is wrong."""
    chosen = launcher(run.config)
    _check_places(run)
    if store.enabled(run.config):
        store.uri(run.config)  # refused where it holds a password, or is none
        tags.check_names(run)
    if not chosen.elsewhere:
        choose_device(run.config.device)
        if run.config.workers:
            check_sharing()

    # The net, the parts of the protocol, and the record at the end.
    if run.method.has_net:
        model = build.check_net(run)
        if not chosen.elsewhere:
            _check_memory(model)
    if run.method.sampler.precision != "fp32":
        raise UserError("Samples are drawn in fp32, so that scores are comparable: remove method.sampler.precision.")
    if not evaluator.metrics(run.config.protocol):
        raise UserError("protocol.metrics is empty, so nothing would be evaluated: keep at least one metric in it.")
    if not evaluator.metrics(run.config.protocol, run.gives):
        raise UserError(
            f"method={run.config.method['name']} can only {' and '.join(run.method.gives)}, but protocol="
            f"{run.config.protocol['id']} has no metric for that: choose another protocol."
        )
    evaluator.sampling(run.config.protocol)
    if selection := evaluator.selection(run.config.protocol):
        for steps in selection.candidates(run.method.sampler.steps):
            _check_steps(run, steps)
    try:
        Record(**described(run), state="skipped", origin=Origin.model_construct())
    except ValueError as error:
        raise UserError(f"The record of this run could not be written: {error}") from None

    for stage_run in run.stage_runs:
        check_shares(stage_run.stage, chosen.size, run.config.accumulate)


def failed_before(runs: list[Run]) -> list[str]:
    """A line on each run that failed before and is not tried again: why, and how to try it."""
    return [
        f"{run.name} failed before: {readable(run.folder, failure_reason)}\n"
        f"  It is skipped; retry=true tries it again. See {run.folder / 'failure.md'}."
        for run in runs
        if run.state == "failed" and not run.config.retry
    ]


def long_warmups(runs: list[Run]) -> list[str]:
    """A line on each stage that is over before its learning rate has risen to `lr`."""
    lines: dict[str, None] = {}
    for run in runs:
        for stage_run in run.stage_runs:
            how = stage_run.stage.training
            if how.warmup > (steps := how.steps(run.data.length("train"))):
                lines[
                    f"Stage {stage_run.name} of method={run.config.method['name']} takes {counted(steps, 'step')}, "
                    f"fewer than its warmup={how.warmup:,}: its learning rate never reaches lr."
                ] = None
    return list(lines)


def without_recipe(runs: list[Run]) -> list[str]:
    """A line on each stage that is shorter than its method says, as there is no recipe for the data."""
    lines: dict[str, None] = {}
    for run in runs:
        method, data, images = run.config.method["name"], run.config.data["name"], run.data.length("train")
        for stage_run in run.stage_runs:
            how = stage_run.stage.training
            if how.most_images and how.most_images < how.epochs * images:
                lines[
                    f"method={method} has no recipe for data={data}: stage {stage_run.name} takes "
                    f"{how.most_images / images:.3g} epochs, {how.most_images:,} images, instead of {how.epochs:g}. "
                    f"To tune it: python -m harness search method={method} data={data}"
                ] = None
    return list(lines)


def _different(runs: list[Run]) -> list[Run]:
    """The runs without duplicates; UserError if there are none."""
    if not runs:
        raise UserError("The sweep is empty: give at least one value to each swept key, such as seed=0,1,2.")
    return list({run.fingerprint: run for run in runs}.values())


def _refuse(checks: Iterable[Callable[[], object]]) -> None:
    """Make all checks; UserError with each distinct message of those that fail."""
    if messages := _messages(checks):
        raise UserError("\n".join(messages))


def _messages(checks: Iterable[Callable[[], object]]) -> list[str]:
    """Make all checks; return each distinct message of those that fail."""
    messages: dict[str, None] = {}
    for check in checks:
        try:
            check()
        except UserError as error:
            messages[str(error)] = None
    return list(messages)


def _by_evaluation(runs: list[Run]) -> list[Run]:
    """One run for each combination of what evaluations need."""
    needs = ("data", "protocol", "extractors")
    by_needs: dict[str, Run] = {}
    for run in runs:
        by_needs[fingerprint([run.gives, run.method.outliers, *(getattr(run.config, part) for part in needs)])] = run
    return list(by_needs.values())


def _checks_of_evaluation(run: Run) -> Iterator[Callable[[], object]]:
    """The checks before an evaluation, each on its own, so that all that they find is told at once."""
    protocol, weights = run.config.protocol, run.config.extractors
    samples, selection = evaluator.sampling(protocol), evaluator.selection(protocol)
    metrics = evaluator.metrics(protocol, run.gives)
    yield partial(_check_classes, run)
    if run.method.outliers:
        yield partial(_check_starts, run, samples.count)
    for name, metric in metrics.items():
        yield partial(_at_entry, name, partial(metric.ready, run.data, samples, weights))
    if selection:
        yield partial(selection.ready, run.data, weights)
    yield partial(_check_keys, run, metrics)


def _checks_of_judges(run: Run) -> Iterator[Callable[[], object]]:
    """The checks of the runs that judge a run's samples: not the same for two runs of one protocol."""
    for name, metric in evaluator.metrics(run.config.protocol, run.gives).items():
        yield partial(_at_entry, name, partial(build.check_judge, run, metric))


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
        raise UserError(f"The test split of {run.config.data['name']} has no image of {names}: add at least one.")


def _check_starts(run: Run, count: int) -> None:
    """UserError if a method's own starts cannot be used, or are fewer than the samples."""
    starts = build.outliers(run)
    starts.ready()
    most = starts.different_starts
    if most is not None and most < count:
        raise UserError(
            f"protocol={run.config.protocol['id']} compares {count:,} samples, of each class in turn where there are "
            f"labels, but method={run.config.method['name']} gives {most:,}: add images, or choose another protocol. "
            f"protocol.samples.count={most} changes the protocol's hash."
        )


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
            f"{', …' * (len(keys) > 3)}: leave one of them out, for example with ~protocol.metrics.{name}."
            for (other, name), keys in shared.items()
        ]
        raise UserError("\n".join(lines))


def _check_places(run: Run) -> None:
    """UserError if a folder that the run writes to cannot be one, or has characters that MLflow or SLURM would read."""
    for key in ("runs", "reports"):
        path = Path(getattr(run.config, key)).absolute()
        if key == "runs" and (odd := [sign for sign in MEANT_OTHERWISE if sign in str(path)]):
            raise UserError(
                f"runs={path}: the path of a folder of runs must not contain {' or '.join(odd)}, which has a special "
                "meaning in databases, URIs or SLURM. Choose another folder with runs=FOLDER."
            )
        try:
            existing = next(folder for folder in (path / NAME, path, *path.parents) if folder.exists())
        except OSError as error:
            raise UserError(
                f"{key}={short(str(path))}: {error.strerror}. Choose another folder: {key}=FOLDER."
            ) from None
        if not existing.is_dir():
            raise UserError(f"{key}={path}: {existing} is not a folder. Choose another one: {key}=FOLDER.")


def _check_steps(run: Run, steps: int) -> None:
    """UserError if the sampler cannot take a number of steps that the protocol's selection may choose."""
    try:
        with_steps(run.method, steps)
    except ValueError as error:
        raise UserError(f"protocol.selection tries {short(steps)} steps of the sampler: {error}") from None


def _check_memory(model: nn.Module) -> None:
    """UserError if the weights of a net on the device "meta" would not fit into this machine's memory."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    if size > (most := psutil.virtual_memory().total):
        raise UserError(
            f"The weights of this net take {size / 1e9:,.0f} GB, and this machine has {most / 1e9:,.0f} GB of memory: "
            "choose a smaller net with the fields of model."
        )


def _computes_bf16_here(run: Run) -> bool:
    """Whether a run has something left to train in bf16, on a CPU of this machine."""
    if launcher(run.config).elsewhere or all(stage_run.ended for stage_run in run.stage_runs):
        return False
    on_cpu = choose_device(run.config.device).type == "cpu"
    return on_cpu and any(key.endswith("precision") and value == "bf16" for key, value in flatten(run.config.method))


def _check(run: Run) -> None:
    """Build the parts of a run that are cheap to build; UserError if one is wrong."""
    check_settings(run)
    _check_data(run, run.data)
    _check_init(run)
    _check_outliers(run)
    _check_batches(run)


def _check_data(run: Run, data: Dataset) -> None:
    """UserError if files of the data, or extra images that are still to be trained on, are missing or others."""
    data.ready()
    if data.extra and not all(stage_run.ended for stage_run in run.stage_runs):
        data.extra.ready(data.shape)


def _check_init(run: Run) -> None:
    """UserError if the run needs initial weights and has none, or has some that do not fit its net."""
    if run.method.has_net and not run.stage_runs and not run.init:
        raise UserError(f"method={run.config.method['name']} trains nothing, so it needs weights: init=PATH.")
    if run.config.init and run.init != UNKNOWN:
        path, model = fetch.local(run.config.init), build.untrained(run, "meta")
        try:
            foreign.check(foreign.read(path, foreign.marked(run.init or "")), model.net, path)
        except UserError as error:
            entry = fetch.known(run.config.init)
            raise UserError(
                f"{error}" + (f"\n  {run.config.init} fits {' '.join(entry.fits)}" if entry else "")
            ) from None


def _check_outliers(run: Run) -> None:
    """UserError if outliers are missing, or some of them are starts too."""
    outliers = build.outliers(run)
    outliers.ready()
    outliers.require_apart()


def _check_batches(run: Run) -> None:
    """UserError if a batch is larger than the training split."""
    images = run.data.length("train")
    for stage_run in run.stage_runs:
        for field in ("batch", "real_batch"):
            if (size := getattr(stage_run.stage.training, field) or 0) > images:
                raise UserError(
                    f"method.{stage_run.name}.training.{field}={size} is larger than the training split of "
                    f"{run.config.data['name']}, {images} images: choose a smaller one."
                )
