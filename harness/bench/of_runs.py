"""The stages of a run, measured from initial weights."""

import tempfile
from pathlib import Path

import torch

from harness import pace
from harness.bench.standin import of_data, of_outliers
from harness.bench.steps import Cost, cost
from harness.build import initial, outliers
from harness.runs import Run, Training
from harness.streams import Materials
from harness.train import Loop


def of_stage(run: Run, training: Training, device: torch.device, rounds: int) -> Cost:
    """What a step of a stage of the run costs, on its own data where these are here."""
    data = of_data(run.data)
    source = of_outliers(outliers(run), data) if "outliers" in training.stage.needs else None
    key, config = (run.config["seed"], training.name), run.config
    how = {"accumulate": config["accumulate"], "compile": config["compile"]}
    materials = Materials(data, source, key, device, config["workers"], **how)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(training.stage, initial(run).to(device), materials, Path(folder))
        return cost(training.name, loop, rounds, pace.name(device), data is not run.data)
