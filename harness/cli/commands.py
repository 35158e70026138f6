"""What the verbs do with composed configs; each returns an exit status."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.cli.arguments import Bench, Cancel, Evaluate, Explain, Logs, Plan, Report, Sample, Status, Sync
from harness.cli.tables import console, runs_table
from harness.core.errors import CanaryFailed, Diverged, UserError, near
from harness.core.registry import names
from harness.runs.folder import OVER
from harness.runs.run import Config, Run
from harness.tracking.store import on

if TYPE_CHECKING:  # so that the light commands stay light
    from harness.runs.trained import Trained

Shown = TypeVar("Shown", Sample, Explain)

BRIEFLY = 30
"""Seconds that a command which was not typed for it spends on sending what MLflow is owed."""

CHOICES = ("method", "data", "model", "outliers", "protocol", "launcher", "experiment")
"""The config groups that `list` shows."""


def run(configs: list[Config]) -> int:
    """Do what is left of the runs; 1 if one failed."""
    from harness import tracking
    from harness.cli.bars import Terminal
    from harness.cli.tables import scores_table
    from harness.core.distributed import join
    from harness.launch.launchers import launch
    from harness.launch.preflight import check_all, ready_to_judge

    world = join()
    console.quiet = world.rank > 0  # of the processes that work on a run, the first speaks, and fetches
    runs = [Run(config) for config in configs]
    names = world.once(lambda: [run.name for run in check_all(runs)])
    runs = list({run.name: run for run in runs if run.name in names}.values())
    world.once(lambda: ready_to_judge([run for run in runs if run.state not in OVER]))
    console.print(runs_table(runs))
    status = launch(runs, Terminal())
    console.print(scores_table(runs))
    where = "" if configs[0]["runs"] == "runs" else f" runs={configs[0]['runs']}"
    console.print(f"Leaderboard: python -m harness report{where}", markup=False, soft_wrap=True)
    if on(configs[0]):
        _, left = world.once(lambda: tracking.sync(runs[0].root, BRIEFLY))
        console.print(f"MLflow:      {tracking.ui_command(configs[0])}", markup=False, soft_wrap=True)
        if left:
            console.print(f"MLflow misses {left} runs: python -m harness sync{where}", markup=False, soft_wrap=True)
    return status


def plan(configs: list[Config], asked: Plan) -> int:
    """Show the runs, their states, the stages they share and what they cost; write nothing."""
    from harness.cli.plan import prices_table, stages_table
    from harness.cost.price import Price, warnings
    from harness.launch.preflight import check_all
    from harness.runs.pace import Paces

    runs = check_all([Run(config) for config in configs])
    console.print(runs_table(runs))
    paces = Paces(runs[0].root)
    if asked.probe:
        from harness.cost.probe import probe

        probe([Price(run, paces) for run in runs])
    prices = [Price(run, paces) for run in runs]
    console.print(stages_table(prices))
    console.print(prices_table(prices))
    for line in warnings(prices):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def evaluate(configs: list[Config], asked: Evaluate, overrides: list[str]) -> int:
    """Judge a trained run, or a checkpoint, under a protocol; nothing is trained. 1 if that failed."""
    from harness.runs.build import ready
    from harness.runs.reopen import again

    config = _one(configs)
    found = again(asked.run, overrides, besides=["protocol"])
    if not Path(asked.run).is_file() and not any(override.startswith("protocol=") for override in overrides):
        raise UserError(f"Say under which protocol: protocol=NAME. {near('', names('protocol'))}")
    ready(found, found.trainings)
    return run([{**found.config, "command": config["command"]}])


def sample(configs: list[Config], asked: Sample, overrides: list[str]) -> int:
    """Write pictures of a trained model's samples, and the samples."""
    from harness.cli.samples import write

    return _show(write, configs, asked, overrides)


def explain(configs: list[Config], asked: Explain, overrides: list[str]) -> int:
    """Write what a trained model would change in images to see another class there."""
    from harness.cli.explain import write

    return _show(write, configs, asked, overrides)


def status(configs: list[Config], asked: Status) -> int:
    """Show how all runs of a folder get on; with `watch`, anew until nothing is to be expected."""
    from harness.cli.watch import look, watch

    root = Path(_one(configs)["runs"])
    watch(root) if asked.watch else look(root, asked.all)
    return 0


def cancel(configs: list[Config], words: list[str], asked: Cancel) -> int:
    """End runs that are queued or running."""
    from harness.launch.cancel import cancel

    for line in cancel(words, Path(_one(configs)["runs"]), asked.all):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def logs(configs: list[Config], word: str, asked: Logs) -> int:
    """Show the ends of what a run's jobs printed."""
    from harness.launch.logs import told, work

    for line in told(work(word, Path(_one(configs)["runs"])), asked.lines):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def report(configs: list[Config], asked: Report) -> int:
    """Write the leaderboard of all runs."""
    from harness.reports import leaderboard

    config = _one(configs)
    page = leaderboard.write(config, asked.source)
    console.print(page.read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    console.print(f"Written: {page}", soft_wrap=True)
    return 0


def sync(configs: list[Config], asked: Sync) -> int:
    """Send MLflow what it is owed; 1 if it did not get everything."""
    from harness import tracking
    from harness.runs.run import folders, load
    from harness.tracking.outbox import owe

    config = _one(configs)
    root = Path(config["runs"]).absolute()
    if asked.all:
        for folder in folders(root):
            owe(load(folder))
    sent, left = tracking.sync(root, tracking=config["tracking"])
    console.print(f"MLflow: {sent} runs sent, {left} still to be sent.", markup=False, soft_wrap=True)
    return 1 if left else 0


def compare(configs: list[Config], first: str, second: str) -> int:
    """Compare two runs that were judged on the same images."""
    from harness.reports import compare

    root = Path(_one(configs)["runs"])
    (name, one), (other_name, other) = compare.judged(first, root), compare.judged(second, root)
    console.print(compare.table(one, other))
    for side, called, of in (("A", name, one), ("B", other_name, other)):
        console.print(" ".join([f"{side}: {called}", *of.overrides]), markup=False, soft_wrap=True)
    for line in filter(None, [compare.kinship(one, other), *compare.doubts(one, other), compare.NOTES]):
        console.print(line, markup=False, soft_wrap=True)
    return 0


def list_choices(configs: list[Config]) -> int:
    """Show what can be chosen, one line each."""
    for group in CHOICES:
        if members := names(group):
            console.print(f"[bold]{group}=[/bold]")
            for name, line in members.items():
                console.print(f"  {name:<12} {line}", markup=False, soft_wrap=True)
    return 0


def check(configs: list[Config]) -> int:
    """Try a method on a dataset at a tiny size against the contract of all methods; 1 if it breaks it."""
    from harness.launch.preflight import check_all
    from harness.runs.contract import verdicts

    failed = 0
    for run in check_all([Run(config) for config in configs]):
        console.print(f"[bold]{run.config['method']['name']} on {run.config['data']['name']}[/bold]")
        for promise, problem in verdicts(run):
            failed += problem is not None
            console.print(f"  {'ok  ' if problem is None else 'FAIL'} {promise}", markup=False, soft_wrap=True)
            if problem is not None:
                console.print(f"       {problem}", markup=False, soft_wrap=True)
    return 1 if failed else 0


def bench(configs: list[Config], asked: Bench) -> int:
    """Measure a run's training steps, sampling or attacks, beside the usual way to write them and their bare passes."""
    from harness.core.device import prepare
    from harness.cost import attacks, bench, sampling, table

    run = Run(_one(configs))
    device = prepare(run.config)
    if asked.fit:
        for stage, most in bench.fits(run, device, asked.stage):
            console.print(f"stage {stage}: memory for a batch of about {most:,}; larger ones by accumulate=N.")
        return 0
    if asked.of == "training":
        measured = bench.of_stages(run, device, asked.rounds, asked.stage)
    elif asked.of == "sampling":
        measured = iter([sampling.of_sampling(run, device, asked.rounds, asked.n)])
    else:
        measured = attacks.of_attacks(run, device, asked.rounds, asked.n)
    costs = []
    for cost in measured:
        costs.append(cost)
        console.print(table.variants(cost), table.sections(cost))
    for line in dict.fromkeys(line for one in costs for line in table.notes(one)):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Written: {table.keep(run, costs, Path(run.config['reports']))}", markup=False, soft_wrap=True)
    return 0


def _model(word: str, overrides: list[str]) -> "Trained":
    """The model of a run or a checkpoint, where and how the overrides say."""
    from harness.core.device import prepare
    from harness.core.energy import InMicroBatches
    from harness.runs.reopen import again
    from harness.runs.trained import Trained

    run = again(word, overrides)
    model = Trained(run, prepare(run.config))
    if run.config["microbatch"]:
        model.net = InMicroBatches(model.net, run.config["microbatch"])
    return model


def _show(
    write: Callable[["Trained", Shown, Path], list[str]], configs: list[Config], asked: Shown, overrides: list[str]
) -> int:
    """Write what a trained model shows, and say where."""
    from harness.core.device import full_precision

    config = _one(configs)
    model = _model(asked.run, overrides)
    folder = Path(asked.out) if asked.out else Path(config["reports"]) / "pictures" / model.run.name
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise UserError(f"{folder} cannot be written to: {place} is no folder, or not yours. Choose one: out=FOLDER.")
    try:
        with full_precision():
            lines = write(model, asked, folder)
    except (Diverged, CanaryFailed) as error:
        raise UserError(f"{model.run.name} shows nothing: {error}") from None
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    return 0


def _one(configs: list[Config]) -> Config:
    if len(configs) != 1:
        raise UserError("This command takes no sweep: leave out -m.")
    return configs[0]
