"""What a run's config describes, built: the net and the outliers. (Method and data are built by the run itself.)"""

import torch

from harness.data import Outliers
from harness.energy import EnergyModel
from harness.randomness import derive
from harness.registry import build
from harness.runs import Run


def untrained(run: Run, device: str = "cpu") -> EnergyModel:
    """The model as the run's seed initialises it; on the device "meta" it is checked but takes no memory."""
    config = dict(run.config["model"])
    mean, std = config.pop("mean"), config.pop("std")
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(derive(run.config["seed"], "initial weights"))
        net = build("model", config, classes=len(run.data.classes), channels=run.data.shape[0])
        return EnergyModel(net, mean, std)


def outliers(run: Run) -> Outliers:
    """The run's source of outliers."""
    return build("outliers", run.config["outliers"], data=run.data)
