"""Time training steps, sampling or attacks, and compare them with plain code and with the net's bare passes."""

from pathlib import Path
from typing import Literal

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.settings import settings
from harness.cost import attacks, bench, sampling, table
from harness.launch.preflight import check_settings
from harness.runs.build import prepare
from harness.runs.run import Run

EXAMPLE = "method=atjem data=cifar10 stage=joint rounds=3"


@settings
class Arguments:
    """of: what to time: training steps, sampling n images, or attacks on n images. rounds: how often each is timed.

    stage: the stage to time (null: all stages). fit: find the largest batch that fits in memory, instead of timing.
    """

    of: Literal["training", "sampling", "attacks"] = "training"
    rounds: int = 5
    stage: str | None = None
    n: int = 100
    fit: bool = False

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.n < 1:
            raise ValueError("rounds and n must be 1 or more")


def run(request: Request) -> None:
    """Measure, print the figures, and write them to a file."""
    arguments: Arguments = request.arguments
    run = Run(request.config)
    check_settings(run)
    device = prepare(run.config)
    if arguments.fit:
        for stage, most in bench.fits(run, device, arguments.stage):
            console.print(f"stage {stage}: a batch of about {most:,} fits in memory; larger batches need accumulate=N.")
        return
    if arguments.of == "training":
        measured = bench.measure_stages(run, device, arguments.rounds, arguments.stage)
    elif arguments.of == "sampling":
        measured = iter([sampling.measure_sampling(run, device, arguments.rounds, arguments.n)])
    else:
        measured = attacks.measure_attacks(run, device, arguments.rounds, arguments.n)
    # Print each result as soon as it is measured.
    costs = []
    for cost in measured:
        costs.append(cost)
        console.print(table.variants(cost), table.sections(cost))
    for line in dict.fromkeys(line for timing in costs for line in table.notes(timing)):
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"Written: {table.keep(run, costs, Path(run.config.reports))}", markup=False, soft_wrap=True)
