"""Show the runs of a command line, their states, shared stages and costs; nothing is written.

The estimated times come from earlier runs of the same kind in the folder of runs.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from rich.table import Column, Table
from rich.text import Text

from harness.cli.request import Request
from harness.cli.tables import console, keep_names, relative, runs_table, tell
from harness.core.settings import settings
from harness.core.text import counted
from harness.cost.disk import size
from harness.cost.planned import fetching, planned
from harness.cost.price import Price, disk_needed, warnings
from harness.launch.preflight import lacking, long_warmups, missing, other_code, without_recipe
from harness.launch.status import duration
from harness.runs.build import prepare
from harness.runs.compose import compose
from harness.runs.folder import OVER, Fault, readable
from harness.runs.pace import Paces
from harness.runs.passes import network_passes
from harness.runs.run import UNKNOWN, Run

EXAMPLE = "-m method=atjem,jem probe=true passes=true"


@settings
class Arguments:
    """probe: time a few steps of each stage that no earlier run has timed.

    passes: count the network's passes for each training image, so that methods can be given equal budgets.
    """

    probe: bool = False
    passes: bool = False


def run(request: Request) -> int:
    """Print the tables of runs, stages and costs; return 3 if the folder of a run cannot be read."""
    asked = planned(request.configs)
    paces = Paces(asked[0].root)
    looked_at = [(run, readable(run.folder, lambda _, run=run: _look(run, paces))) for run in asked]
    faults = [answer for _, answer in looked_at if isinstance(answer, Fault)]
    runs = [run for run, answer in looked_at if not isinstance(answer, Fault)]

    # What is known of each run, then what all of them need and cost.
    table = runs_table(runs)
    for fault in faults:
        table.add_row(Text(str(fault)), *[""] * (len(table.columns) - 2), "unreadable")
    console.print(table)
    for _, answer in looked_at:
        if answer and not isinstance(answer, Fault):
            console.print(answer, markup=False, soft_wrap=True)
    if runs:
        prices = _priced(runs, paces, request.arguments.probe)
        console.print(stages_table(prices))
        console.print(prices_table(prices))
        # Offer to train what the missing weights would replace, unless the command asks for the weights.
        if instead := _without_init(request, runs):
            title = "Estimated remaining cost with init=null, which trains the first stage here"
            console.print(prices_table(_priced(instead, paces, request.arguments.probe), title))
        if request.arguments.passes:
            console.print(passes_table(runs))
        for line in [*_lacking(request, runs), *without_recipe(runs), *long_warmups(runs), *warnings(prices)]:
            console.print(line, markup=False, soft_wrap=True)
    return tell(faults)


def _without_init(request: Request, runs: Sequence[Run]) -> list[Run]:
    """The runs with all stages trained here; none if all weights are here, or the command itself names some."""
    replaced = any(run.init == UNKNOWN and len(run.stage_runs) < len(run.method.stages) for run in runs)
    if not replaced or any(word.startswith("init=") for word in request.overrides):
        return []
    return planned(compose([*request.overrides, "init=null"]))


def _priced(runs: Sequence[Run], paces: Paces, probed: bool) -> list[Price]:
    """The prices of runs, after a probe of what no earlier run has timed if one is wanted."""
    if probed:
        from harness.cost.probe import probe

        probe([Price(run, paces) for run in runs])
    return [Price(run, paces) for run in runs]


def _lacking(request: Request, runs: Sequence[Run]) -> list[str]:
    """A line on each file that the runs need and that is missing here."""
    begun = [run for run in runs if run.state not in OVER]
    files = lacking(begun)
    if files and any(map(fetching, request.configs)):
        files.append("`plan` downloads nothing; the command itself does, with download=true.")
    return [f"Missing: {what}" for what in [*files, *missing(begun)]]


def _look(run: Run, paces: Paces) -> str:
    """Read all that the tables need of a run's folder and of those of its stages; return what changed since."""
    price = Price(run, paces)
    _ = run.state, price.stages, price.evaluation
    return other_code([run]).get(run.name, "")


def stages_table(prices: Sequence[Price]) -> Table:
    """Table of the stages that runs need, each once: how many runs share it, and how long a step takes."""
    uses = Counter(stage_run.fingerprint for price in prices for stage_run in price.run.stage_runs)
    table = Table("stage", "steps", "images", "time per step", "used by", "state")
    table.title = f"{counted(len(uses), 'stage')} in {relative(prices[0].run.root)}/stages/"
    names: list[str] = []
    for price in prices:
        for stage_run in price.run.stage_runs:
            if n := uses.pop(stage_run.fingerprint, 0):
                optim = stage_run.stage.training
                steps = optim.steps(price.run.data.length("train"))
                done = Text("done", "green") if stage_run.done else Text("to do", "dim")
                # The folder of a stage that begins from weights which are not here is not known.
                names.append(stage_run.name if price.run.init == UNKNOWN else stage_run.folder.name)
                pace = str(price.pace(stage_run) or "unknown")
                row = (names[-1], f"{steps:,}", f"{steps * optim.batch:,}", pace, counted(n, "run"))
                table.add_row(*row, done)
    keep_names(table.columns[0], names)
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


def prices_table(prices: Sequence[Price], title: str = "Estimated remaining cost") -> Table:
    """Table of the cost of each run and of all together, where a shared stage counts once."""
    hours = "GPU hours" if any(_on_gpu(price) for price in prices) else "process hours"
    uses = Counter(digest for price in prices for digest in price.stages)
    table = Table("run", "training", Column("evaluation", no_wrap=True), hours, "disk, at most", title=title)
    keep_names(table.columns[0], [price.run.name for price in prices])
    for price in prices:
        shared = any(cost != 0 and uses[digest] > 1 for digest, cost in price.stages.items())
        needed = sum(price.disk.stages.values()) + price.disk.run + price.disk.meanwhile
        table.add_row(price.run.name, *_costs([price], " (shared)" * shared), size(needed))
    table.add_section()
    title = counted(len(prices), "run") + ", shared stages once" * any(n > 1 for n in uses.values())
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
