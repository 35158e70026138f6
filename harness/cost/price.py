"""Predict the cost of runs: hours, from earlier runs of the same kind, and disk space."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.cost.disk import Disk, disk, free, size
from harness.launch.launchers import launcher
from harness.runs import pace
from harness.runs.build import prepare
from harness.runs.folder import OVER
from harness.runs.pace import Pace, Paces
from harness.runs.run import Run, StageRun


@dataclass(frozen=True)
class Price:
    """Seconds that are left to do of a run; None if unknown."""

    run: Run
    paces: Paces

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.run.state in OVER

    @property
    def processes(self) -> int:
        """Number of processes that work on the run."""
        return launcher(self.run.config).size

    @cached_property
    def device(self) -> str | None:
        """Name of the device; None on a cluster, whose devices this machine does not know."""
        return None if launcher(self.run.config).elsewhere else pace.name(prepare(self.run.config))

    def pace(self, stage_run: StageRun) -> Pace | None:
        """Time of a step of a stage; None if unknown."""
        return self.paces.find(pace.stage_key(self.run, stage_run), self.device)

    @cached_property
    def stages(self) -> dict[str, float | None]:
        """Seconds left of each stage, by its fingerprint."""
        if self.over:
            return {stage_run.fingerprint: 0.0 for stage_run in self.run.stage_runs}
        return {
            stage_run.fingerprint: pace.stage_seconds(self.run, stage_run, self.paces, self.device, self.processes)
            for stage_run in self.run.stage_runs
        }

    @cached_property
    def evaluation(self) -> float | None:
        """Seconds left of the evaluation."""
        return 0.0 if self.over else pace.evaluation_seconds(self.run, self.paces, self.device, self.processes)

    @cached_property
    def disk(self) -> Disk:
        """Bytes of disk that the run needs."""
        return Disk({}, 0, 0) if self.over else disk(self.run)


def warnings(prices: Sequence[Price]) -> list[str]:
    """Return a line for each unknown cost, and one if the disk is too small."""
    lines: list[str] = []
    if any(None in price.stages.values() for price in prices):
        lines.append("No earlier run has timed some of the stages: probe=true times a few steps of each.")
    if any(price.evaluation is None for price in prices):
        lines.append("The time of an evaluation is unknown until a run of the same kind has been evaluated.")
    root = prices[0].run.root
    needed, available = disk_needed(prices), free(root)
    if needed > available:
        lines.append(f"The disk may be too small: up to {size(needed)} needed, {size(available)} free at {root}.")
    return lines


def disk_needed(prices: Sequence[Price]) -> int:
    """Bytes that all runs keep, plus the checkpoints of those that train at the same time."""
    stage_bytes = {digest: n for price in prices for digest, n in price.disk.stages.items()}
    at_once = int(prices[0].run.config.launcher.get("parallel", 1))
    meanwhile = sorted((price.disk.meanwhile for price in prices), reverse=True)[:at_once]
    return sum(stage_bytes.values()) + sum(price.disk.run for price in prices) + sum(meanwhile)
