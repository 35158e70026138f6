"""What the training of a stage has taken, interruptions not counted: seconds, and the energy of its GPUs."""

import time
from math import isnan, nan
from typing import Any

import torch

from harness.core.distributed import World


class Meter:
    """Counts from now on, and adds what was spent before the checkpoint `saved`, if there is one.

    A checkpoint's joules are null where they were not known.
    """

    def __init__(self, device: torch.device, world: World, saved: dict[str, Any] | None = None) -> None:
        self.device, self.world = device, world
        self.seconds_before, self.joules_before = 0.0, 0.0
        if saved is not None:
            known = saved.get("joules")
            self.seconds_before, self.joules_before = saved["seconds"], nan if known is None else known
        self.since, self.start = time.monotonic(), gpu_joules(device)

    @property
    def seconds(self) -> float:
        """Of this process."""
        return self.seconds_before + time.monotonic() - self.since

    def joules(self) -> float | None:
        """Of the GPUs of all processes, which call this together; None where one does not tell, and on CPUs."""
        here = torch.tensor(gpu_joules(self.device) - self.start, dtype=torch.float64)
        total = self.joules_before + float(self.world.sum(here))
        return None if isnan(total) else total


def gpu_joules(device: torch.device) -> float:
    """What a GPU has used since its driver was loaded, in joules, by whomever; NaN where it does not tell."""
    if device.type != "cuda":
        return nan
    import pynvml  # of nvidia-ml-py, which is slow where it finds no driver

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except pynvml.NVMLError:
        return nan
