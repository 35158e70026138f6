"""Record the machine's usage during a run (CPU, memory, GPUs) in system.jsonl of the run's folder."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.files import append_line

SPARSE = (10.0, 0.01)
"""Minimum interval between samples: in seconds, and as a share of the time since the start (1,000 in three weeks)."""


class Usage:
    """Takes samples with MLflow's monitors, under MLflow's names of system metrics."""

    def __init__(self, path: Path) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        self.path, self.begun = path, time.monotonic()
        self.monitors: list[Any] = [CPUMonitor()]
        with suppress(ImportError, RuntimeError):  # no GPU, or no driver
            self.monitors.append(GPUMonitor())
        self.due = self.begun
        self._sample()  # the first CPU load has no interval to refer to, so it is dropped

    def note(self) -> None:
        """Append a sample to the file if one is due."""
        now = time.monotonic()
        if now >= self.due:
            self.due = now + max(SPARSE[0], SPARSE[1] * (now - self.begun))
            append_line(self.path, {"time": int(time.time() * 1000), **self._sample()})

    def _sample(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            figures |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return figures
