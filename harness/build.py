"""What a run's config describes, built: the net and the outliers. (Method and data are built by the run itself.)"""

import torch

from harness.data import Outliers
from harness.energy import EnergyModel
from harness.errors import UserError
from harness.randomness import derive
from harness.registry import build, make
from harness.runs import Run


def untrained(run: Run, device: str = "cpu") -> EnergyModel:
    """The model as the run's seed initialises it; on the device "meta" it is checked but takes no memory."""
    channels, config = run.data.shape[0], dict(run.config["model"])
    constants = {key: config.pop(key) for key in ("mean", "std") if key in config}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(derive(run.config["seed"], "initial weights"))
        net = build("model", config, classes=len(run.data.classes), channels=channels)
        model = make(EnergyModel, "model", constants, net=net)
    if model.mean.numel() != channels:
        raise UserError(f"model.mean and model.std need {channels} values, one for each channel of the data.")
    return model


def outliers(run: Run) -> Outliers:
    """The run's source of outliers."""
    return build("outliers", run.config["outliers"], data=run.data)
