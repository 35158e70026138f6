"""What runs will cost: hours, by what earlier runs of their kind took, and disk."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from rich.table import Table

from harness.core.device import prepare
from harness.core.files import read_lines
from harness.cost.disk import Disk, disk, free, size
from harness.launch.launchers import launcher
from harness.launch.status import duration
from harness.runs import pace
from harness.runs.pace import Pace, Paces
from harness.runs.run import OVER, Run, Training


@dataclass(frozen=True)
class Price:
    """What is left to do of a run, in seconds; None where nobody knows."""

    run: Run
    paces: Paces

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.run.state in OVER

    @property
    def processes(self) -> int:
        """How many processes work on the run."""
        return launcher(self.run.config).size

    @cached_property
    def device(self) -> str | None:
        """What it is computed on; None where that is a cluster's, which this machine cannot tell."""
        return None if launcher(self.run.config).elsewhere else pace.name(prepare(self.run.config))

    def pace(self, training: Training) -> Pace | None:
        """What a step of a stage takes."""
        return self.paces.find(pace.of_stage(self.run, training), self.device)

    @cached_property
    def stages(self) -> dict[str, float | None]:
        """Each stage, by its fingerprint."""
        return {training.fingerprint: self._stage(training) for training in self.run.trainings}

    @cached_property
    def evaluation(self) -> float | None:
        """The evaluation."""
        found = self.paces.find(pace.of_evaluation(self.run), self.device)
        return 0.0 if self.over else found and found.seconds / self.processes

    @cached_property
    def disk(self) -> Disk:
        """The bytes that it needs."""
        return Disk({}, 0, 0) if self.over else disk(self.run)

    def _stage(self, training: Training) -> float | None:
        if self.over or training.ended:
            return 0.0
        found = self.pace(training)
        return found and steps_left(self.run, training) * found.seconds / self.processes


def steps_left(run: Run, training: Training) -> int:
    """The steps of a stage that no process has logged yet."""
    logged = read_lines(training.folder / "metrics.jsonl")
    return training.stage.training.steps(run.data.length("train")) - (logged[-1]["step"] if logged else 0)


def prices_table(prices: Sequence[Price]) -> Table:
    """What each run costs, and all of them, a stage that runs share once."""
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


def warnings(prices: Sequence[Price]) -> list[str]:
    """What is not known, and what will not do."""
    lines: list[str] = []
    if any(None in price.stages.values() for price in prices):
        lines.append("No earlier run tells the pace of some stages: probe=true measures it, by a few steps of each.")
    if any(price.evaluation is None for price in prices):
        lines.append("An evaluation's time is known once a run of its kind has been judged.")
    root = prices[0].run.root
    needed, there = disk_needed(prices), free(root)
    if needed > there:
        lines.append(f"The disk will not do: {size(needed)} may be needed, and {size(there)} are free at {root}.")
    return lines


def disk_needed(prices: Sequence[Price]) -> int:
    """The bytes that all runs keep, and the checkpoints of those that train at the same time."""
    kept = {digest: n for price in prices for digest, n in price.disk.stages.items()}
    at_once = int(prices[0].run.config["launcher"].get("parallel", 1))
    meanwhile = sorted((price.disk.meanwhile for price in prices), reverse=True)[:at_once]
    return sum(kept.values()) + sum(price.disk.run for price in prices) + sum(meanwhile)


def _costs(prices: Sequence[Price], remark: str = "") -> list[str]:
    """Time of training and of evaluation, and the hours of all their processes."""
    stages = {digest: (cost, price.processes) for price in prices for digest, cost in price.stages.items()}
    judged = [(price.evaluation, price.processes) for price in prices]
    work = [*stages.values(), *judged]
    return [
        _sum([cost for cost, _ in stages.values()], duration) + remark,
        _sum([cost for cost, _ in judged], duration),
        _sum([cost and cost * n for cost, n in work], lambda seconds: f"{seconds / 3600:,.2f}"),
    ]


def _on_gpu(price: Price) -> bool:
    how = price.run.config["launcher"]
    return bool(how.get("gpus")) if price.device is None else prepare(price.run.config).type == "cuda"


def _sum(costs: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """A sum, or the least that it can be where some of it is unknown."""
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs):
        return shown(sum(known))
    return f"≥ {shown(sum(known))}" if any(known) else "unknown"
