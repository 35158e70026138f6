"""Show the runs of a command line, their states, shared stages and costs; nothing is written.

Times are taken from earlier runs of the same kind in the folder of runs.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from rich.table import Table
from rich.text import Text

from harness.cli.request import Request
from harness.cli.tables import console, relative, runs_table, tell
from harness.core.errors import UserError
from harness.core.settings import settings
from harness.cost.disk import size
from harness.cost.passes import network_passes
from harness.cost.price import Price, disk_needed, warnings
from harness.launch.preflight import check_all, long_warmups, missing, other_code, without_recipe
from harness.launch.status import duration
from harness.runs.build import prepare
from harness.runs.config import Config
from harness.runs.folder import OVER, Fault, readable
from harness.runs.pace import Paces
from harness.runs.run import Run

EXAMPLE = "-m method=atjem,jem probe=true passes=true"


@settings
class Arguments:
    """probe: measure stages that no earlier run has timed, by a few steps of each.

    passes: count the network's passes for each training image, by which methods are given equal budgets.
    """

    probe: bool = False
    passes: bool = False


def run(request: Request) -> int:
    """Print the tables of runs, stages and costs; return 3 if the folder of a run cannot be read."""
    asked = _check(request.configs)
    paces = Paces(asked[0].root)
    looked_at = [(run, readable(run.folder, lambda _, run=run: _look(run, paces))) for run in asked]
    faults = [answer for _, answer in looked_at if isinstance(answer, Fault)]
    runs = [run for run, answer in looked_at if not isinstance(answer, Fault)]

    # What is known of each run, then what all of them need and cost.
    table = runs_table(runs)
    for fault in faults:
        table.add_row("", "", "", "", "", "unreadable", Text(str(fault)))
    console.print(table)
    for _, answer in looked_at:
        if answer and not isinstance(answer, Fault):
            console.print(answer, markup=False, soft_wrap=True)
    if request.arguments.probe and runs:
        from harness.cost.probe import probe

        probe([Price(run, paces) for run in runs])
    if runs:
        prices = [Price(run, paces) for run in runs]
        console.print(stages_table(prices))
        console.print(prices_table(prices))
        if request.arguments.passes:
            console.print(passes_table(runs))
        lacking = [f"Missing: {what}" for what in missing([run for run in runs if run.state not in OVER])]
        for line in [*lacking, *without_recipe(runs), *long_warmups(runs), *warnings(prices)]:
            console.print(line, markup=False, soft_wrap=True)
    return tell(faults)


def _check(configs: Sequence[Config]) -> list[Run]:
    """The runs of some configs, which fetch nothing; UserError with all that is wrong with them."""
    here = [replace(c, **{part: getattr(c, part) | {"download": False} for part in _fetching(c)}) for c in configs]
    try:
        return check_all([Run(config) for config in here])
    except UserError as error:
        if not any(map(_fetching, configs)):
            raise
        raise UserError(f"{error}\nA plan fetches nothing: the command itself does, with download=true.") from None


def _fetching(config: Config) -> list[str]:
    """The parts of a config that would fetch files."""
    return [part for part in ("data", "outliers") if getattr(config, part).get("download")]


def _look(run: Run, paces: Paces) -> str:
    """Read all that the tables need of a run's folder and of those of its stages; return what changed since."""
    price = Price(run, paces)
    _ = run.state, price.stages, price.evaluation
    return other_code([run]).get(run.name, "")


def stages_table(prices: Sequence[Price]) -> Table:
    """Table of the stages that runs need, each once: how many runs share it, and how long a step takes."""
    uses = Counter(stage_run.fingerprint for price in prices for stage_run in price.run.stage_runs)
    table = Table("stage", "steps", "images", "a step takes", "used by", "state", "folder")
    table.title = f"{len(uses)} stages to train"
    for price in prices:
        for stage_run in price.run.stage_runs:
            if n := uses.pop(stage_run.fingerprint, 0):
                optim = stage_run.stage.training
                steps = optim.steps(price.run.data.length("train"))
                done = Text("done", "green") if stage_run.done else Text("to do", "dim")
                row = (
                    stage_run.name,
                    f"{steps:,}",
                    f"{steps * optim.batch:,}",
                    str(price.pace(stage_run) or "unknown"),
                )
                table.add_row(*row, f"{n} run{'s' * (n > 1)}", done, relative(stage_run.folder))
    return table


def passes_table(runs: Sequence[Run]) -> Table:
    """Table of the network's passes for each training image: once for runs that differ in their seed alone."""
    table = Table("method", "data", "by stage", "all", title="Passes for each training image, at most")
    for run in {run.series: run for run in runs}.values():
        passes = network_passes(run)
        stages = ", ".join(f"{name} {count:,.0f}" for name, count in passes.items())
        what = " ".join([run.config.method["name"], *run.config.overrides])
        table.add_row(what, run.config.data["name"], stages, f"{sum(passes.values()):,.0f}")
    return table


def prices_table(prices: Sequence[Price]) -> Table:
    """Table of the cost of each run and of all together, where a shared stage counts once."""
    hours = "GPU-hours" if any(_on_gpu(price) for price in prices) else "process-hours"
    uses = Counter(digest for price in prices for digest in price.stages)
    table = Table("run", "training", "evaluation", hours, "disk, at most", title="What is left to pay")
    for price in prices:
        shared = any(cost != 0 and uses[digest] > 1 for digest, cost in price.stages.items())
        needed = sum(price.disk.stages.values()) + price.disk.run + price.disk.meanwhile
        table.add_row(price.run.name, *_costs([price], " (shared)" * shared), size(needed))
    table.add_section()
    title = f"{len(prices)} runs" + ", shared stages once" * any(n > 1 for n in uses.values())
    table.add_row(title, *_costs(prices), size(disk_needed(prices)))
    return table


def _costs(prices: Sequence[Price], remark: str = "") -> list[str]:
    """Time of training, time of evaluation, and the hours summed over all processes."""
    stages = {digest: (cost, price.processes) for price in prices for digest, cost in price.stages.items()}
    evaluations = [(price.evaluation, price.processes) for price in prices]
    work = [*stages.values(), *evaluations]
    return [
        _sum([cost for cost, _ in stages.values()], duration) + remark,
        _sum([cost for cost, _ in evaluations], duration),
        _sum([cost and cost * n for cost, n in work], lambda seconds: f"{seconds / 3600:,.2f}"),
    ]


def _on_gpu(price: Price) -> bool:
    launcher = price.run.config.launcher
    return bool(launcher.get("gpus")) if price.device is None else prepare(price.run.config).type == "cuda"


def _sum(costs: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """Format a sum; a lower bound if some of the costs are unknown."""
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs):
        return shown(sum(known))
    return f"≥ {shown(sum(known))}" if any(known) else "unknown"
