"""What the training of a stage has taken, interruptions not counted: seconds, and the energy of its GPUs."""

import time
from math import isnan, nan
from typing import Any

import torch

from harness.core.distributed import World


class Spent:
    """Counts from `begin` on, and adds what was spent before."""

    def __init__(self, device: torch.device, world: World) -> None:
        self.device, self.world = device, world
        self.before: dict[str, float] = {"seconds": 0.0, "joules": 0.0}
        self.begin()

    def begin(self, before: dict[str, Any] | None = None) -> None:
        """Count from now on; before: what a checkpoint keeps, of which joules are null where they were not known."""
        if before is not None:
            known = before.get("joules")
            self.before = {"seconds": before["seconds"], "joules": nan if known is None else known}
        self.since, self.meter = time.monotonic(), meter(self.device)

    @property
    def seconds(self) -> float:
        """Of this process."""
        return self.before["seconds"] + time.monotonic() - self.since

    def joules(self) -> float | None:
        """Of the GPUs of all processes, which ask together; None where one does not tell, and on CPUs."""
        here = torch.tensor(meter(self.device) - self.meter, dtype=torch.float64)
        total = self.before["joules"] + float(self.world.sum(here))
        return None if isnan(total) else total


def meter(device: torch.device) -> float:
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
