"""A run's trained model, as the folders of its stages hold it."""

import torch

from harness import checkpoint
from harness.build import initial, untrained
from harness.energy import EnergyModel
from harness.method import State
from harness.runs import Run, Training


def last(run: Run) -> Training | None:
    """The stage that a run's model is taken from; None where it trains nothing."""
    return run.trainings[-1] if run.trainings else None


def trained(run: Run, training: Training | None, device: torch.device) -> EnergyModel:
    """The model as a stage left it, in evaluation mode; with no stage, as it was before the first."""
    model = (initial if training is None else untrained)(run).to(device)
    if training is not None:
        model.load_state_dict(checkpoint.load_tensors(training.folder / "weights.safetensors", device))
    return model.eval()


def state(training: Training | None, device: torch.device) -> State:
    """What a stage remembered at its end."""
    return {} if training is None else checkpoint.load_tensors(training.folder / "state.safetensors", device)
