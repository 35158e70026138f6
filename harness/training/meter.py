"""Measure the training time of a stage and the energy of its GPUs and CPUs, without interruptions."""

import time
from math import isnan, nan
from pathlib import Path
from typing import Any

import torch

from harness.core.distributed import World

POWERCAP = Path("/sys/class/powercap")
"""Where Linux counts the energy of CPUs (RAPL), in microjoules; often only root may read it."""

OFTEN = 60.0
"""Seconds between two readings of these counters, which begin again at 0 within some minutes."""


class Meter:
    """Counts from now on, and adds the time and energy stored in the checkpoint `saved`, if there is one.

    A checkpoint's energies are null if they were not known.
    """

    def __init__(self, device: torch.device, world: World, saved: dict[str, Any] | None = None) -> None:
        self.device, self.world = device, world
        before = saved or {"seconds": 0.0, "joules": 0.0, "cpu_joules": 0.0}
        self.seconds_before = before["seconds"]
        self.joules_before, self.cpu_joules_before = _known(before.get("joules")), _known(before.get("cpu_joules"))
        self.started_at, self.joules_at_start = time.monotonic(), gpu_joules(device)
        # One process of each machine counts its CPUs.
        self.cpus = Cpus() if world.local == 0 else None

    @property
    def seconds(self) -> float:
        """Training time of this process, in seconds."""
        return self.seconds_before + time.monotonic() - self.started_at

    def note(self) -> None:
        """Call it after each step: it reads, now and then, the counters that begin again at 0."""
        if self.cpus:
            self.cpus.note()

    def joules(self) -> float | None:
        """Energy of all ranks' GPUs, in joules; all ranks must call it. None on CPUs, or if a GPU reports none."""
        return self._summed(self.joules_before, gpu_joules(self.device) - self.joules_at_start)

    def cpu_joules(self) -> float | None:
        """Energy of all machines' CPUs, in joules; all ranks must call it. None if one cannot be read."""
        return self._summed(self.cpu_joules_before, self.cpus.joules() if self.cpus else 0.0)

    def _summed(self, before: float, own: float) -> float | None:
        total = before + float(self.world.sum(torch.tensor(own, dtype=torch.float64)))
        return None if isnan(total) else total


class Cpus:
    """Energy of this machine's CPUs from now on, by all that runs on them, with their memory where that is counted."""

    def __init__(self) -> None:
        self.counters = [
            path
            for path in sorted(POWERCAP.glob("intel-rapl:*"))
            if _text(path / "name").startswith(("package", "dram"))
        ]
        self.spent, self.noted_at = 0.0 if self.counters else nan, time.monotonic()
        self.last = [_number(path / "energy_uj") for path in self.counters]

    def note(self) -> None:
        """Read the counters if the last time was some time ago."""
        if time.monotonic() - self.noted_at > OFTEN:
            self.joules()

    def joules(self) -> float:
        """Energy in joules; NaN if a counter cannot be read."""
        self.noted_at, now = time.monotonic(), [_number(path / "energy_uj") for path in self.counters]
        for path, before, after in zip(self.counters, self.last, now, strict=True):
            begun_again = _number(path / "max_energy_range_uj") if after < before else 0.0
            self.spent += (after - before + begun_again) / 1e6
        self.last = now
        return self.spent


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> float:
    text = _text(path).strip()
    return float(text) if text.isdecimal() else nan


def _known(joules: float | None) -> float:
    return nan if joules is None else joules


def gpu_joules(device: torch.device) -> float:
    """Energy of a GPU since its driver was loaded, in joules, by all its users; NaN if it is not reported."""
    if device.type != "cuda":
        return nan
    try:
        import pynvml  # from nvidia-ml-py, which benchmarks do without; slow if there is no driver
    except ImportError:
        return nan
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except pynvml.NVMLError:
        return nan
