"""What a run's config describes, built: the net and the outliers. (Method and data are built by the run itself.)"""

from pkgutil import iter_modules
from typing import Any

import torch
from torch import nn

from harness import models
from harness.core.dataset import Outliers
from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.random import derive
from harness.core.registry import build, make
from harness.runs.initial import fill
from harness.runs.run import Run


def untrained(run: Run, device: str = "cpu") -> EnergyModel:
    """The model as the run's seed initialises it; on the device "meta" it is checked but takes no memory."""
    channels, config = run.data.shape[0], dict(run.config["model"])
    constants = {key: config.pop(key) for key in ("mean", "std") if key in config}
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(derive(run.config["seed"], "initial weights"))
        net = _net(config, classes=len(run.data.classes), channels=channels)
        model = make(EnergyModel, "model", constants, net=net)
    if model.mean.numel() != channels:
        raise UserError(f"model.mean and model.std need {channels} values, one for each channel of the data.")
    return model


def initial(run: Run) -> EnergyModel:
    """The model before its first stage: as the seed initialises it, or as the checkpoint of `init` has it."""
    model = untrained(run)
    if run.init:
        fill(model, run.config["init"], run.init)
    return model


def _net(config: dict[str, Any], **context: int) -> nn.Module:
    """A net of ours where there is one of that name, else timm's."""
    if config["name"] in {module.name for module in iter_modules(models.__path__)} - {"timm"}:
        return build("model", config, **context)
    fields = dict(config)
    architecture, options = fields.pop("name"), fields.pop("options", {})
    for field in fields:
        raise UserError(f"model.{field}: timm's nets have no such field; drop it with ~model.{field}")
    from harness.models.timm import timm_net  # slow to import, and most runs need none of it

    return timm_net(**context, architecture=architecture, options=options)


def outliers(run: Run) -> Outliers:
    """The run's source of outliers."""
    return build("outliers", run.config["outliers"], data=run.data)
