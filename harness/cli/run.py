"""Train, evaluate and record the runs of a command line, without repeating finished work; exit status 1 if one failed.

The verb may be left out: python -m harness method=at seed=0. The same command resumes interrupted runs.
"""

from collections.abc import Iterator
from math import nan

from harness import tracking
from harness.cli.bars import Terminal
from harness.cli.request import Request
from harness.cli.tables import console, runs_table, scores_table
from harness.core.distributed import join
from harness.core.errors import typed
from harness.core.text import counted
from harness.cost.planned import planned
from harness.launch.launchers import launch
from harness.launch.preflight import (
    check_all,
    check_code,
    failed_before,
    long_warmups,
    ready_to_judge,
    slow_precision,
    without_recipe,
)
from harness.launch.slurm import scripts
from harness.runs import record
from harness.runs.folder import OVER
from harness.runs.run import Run
from harness.tracking.store import enabled

BRIEFLY = 30
"""Seconds spent, at the end, on sending runs that MLflow still misses."""


def run(request: Request) -> int:
    """Run them; return 1 if one failed. With launcher.dry=true, print what would be submitted."""
    if request.configs and request.configs[0].launcher.get("dry"):
        for script in scripts(planned(request.configs)):
            console.print(script, markup=False, highlight=False, soft_wrap=True)
        return 0
    return run_all([Run(config) for config in request.configs])


def run_all(runs: list[Run]) -> int:
    """Do what is left of the runs and print their scores; return 1 if one failed, or missed an expected score."""
    world = join()
    console.quiet = world.rank > 0  # only rank 0 prints
    # Check the runs, and download what their evaluation needs, on rank 0 alone.
    names = world.on_main(lambda: [run.name for run in check_all(runs)])
    runs = list({run.name: run for run in runs if run.name in names}.values())
    config = runs[0].config
    left = [run for run in runs if run.state not in OVER]
    world.on_main(lambda: ready_to_judge(left))
    for line in world.on_main(
        lambda: (
            check_code(runs) + failed_before(runs) + without_recipe(left) + long_warmups(left) + slow_precision(left)
        )
    ):
        console.print(line, markup=False, soft_wrap=True)
    console.print(runs_table(runs))
    status = launch(runs, Terminal())
    console.print(scores_table(runs))
    for line, met in expectations(runs):
        console.print(line, markup=False, soft_wrap=True)
        status = status if met else 1
    where = "" if config.runs == "runs" else f" {typed('runs', config.runs)}"
    console.print(f"Leaderboard: python -m harness report{where}", markup=False, soft_wrap=True)
    if enabled(config):
        _, missing = world.on_main(lambda: tracking.sync(runs[0].root, BRIEFLY))
        command = tracking.ui_command(config)
        page = f"\n             {tracking.ui_page(config)}" if command.startswith("mlflow") else ""
        console.print(f"MLflow:      {command}{page}", markup=False, soft_wrap=True)
        if missing:
            console.print(
                f"MLflow lacks {counted(missing, 'run')}; to send them: python -m harness sync{where}",
                markup=False,
                soft_wrap=True,
            )
    return status


def expectations(runs: list[Run]) -> Iterator[tuple[str, bool]]:
    """For each expected score of the runs that are done, a line that compares it, and whether it is met."""
    for run in runs:
        scores = record.read(run.folder / "record.json").scores if run.config.expected and run.state == "done" else {}
        for key, (value, tolerance) in run.config.expected.items() if scores else ():
            score = scores[key].value if key in scores else nan
            met = abs(score - value) <= tolerance
            yield (
                f"{run.name}: {key} is {score:.4g}, expected {value:g} ± {tolerance:g}: {'met' if met else 'missed'}",
                met,
            )
