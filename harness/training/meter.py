"""Measure the training time of a stage and the energy of its GPUs, without interruptions."""

import time
from math import isnan, nan
from typing import Any

import torch

from harness.core.distributed import World


class Meter:
    """Counts from now on, and adds the time and energy stored in the checkpoint `saved`, if there is one.

    A checkpoint's joules are null if they were not known.
    """

    def __init__(self, device: torch.device, world: World, saved: dict[str, Any] | None = None) -> None:
        self.device, self.world = device, world
        self.seconds_before, self.joules_before = 0.0, 0.0
        if saved is not None:
            known = saved.get("joules")
            self.seconds_before, self.joules_before = saved["seconds"], nan if known is None else known
        self.started_at, self.joules_at_start = time.monotonic(), gpu_joules(device)

    @property
    def seconds(self) -> float:
        """Training time of this process, in seconds."""
        return self.seconds_before + time.monotonic() - self.started_at

    def joules(self) -> float | None:
        """Energy of all ranks' GPUs, in joules; all ranks must call it. None on CPUs, or if a GPU reports none."""
        own = torch.tensor(gpu_joules(self.device) - self.joules_at_start, dtype=torch.float64)
        total = self.joules_before + float(self.world.sum(own))
        return None if isnan(total) else total


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
