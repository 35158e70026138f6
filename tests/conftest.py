"""Fixtures shared by all tests: small nets, a small batch, the digits, a stage's training loop, and a command line."""

import logging
import sys

import hypothesis
import pytest
import torch
from torch import nn

from harness.cli import main as command
from harness.core.energy import EnergyModel
from harness.core.optim import Training
from harness.datasets.digits import Digits
from harness.datasets.outliers.fields import Fields
from harness.models.digits import Digits as DigitsNet
from harness.training.batches import StageInputs
from harness.training.step import Step

hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keep answers in a folder of this session, for the commands that tests start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def net():
    """A net of 16 pixels → 12 tanh → 5 logits in float64, with weights large enough for curved energies."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5))
    model = EnergyModel(layers, [0.5], [0.25]).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture
def images():
    return torch.rand(6, 1, 4, 4, dtype=torch.double, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def labels():
    return torch.tensor([0, 1, 2, 3, 4, 1])


@pytest.fixture(scope="session")
def digits():
    return Digits()


@pytest.fixture
def digits_net():
    """A function that makes small nets for digits in float32, with the same weights each time."""

    def make(norm="batch", width=4):
        torch.manual_seed(3)
        return EnergyModel(DigitsNet(10, 1, width, norm, "silu"), [0.5], [0.5])

    return make


@pytest.fixture
def training(digits):
    """A function that makes training settings for a number of steps of 8 images."""

    def make(steps, **changes):
        fields = {"epochs": steps * 8 / len(digits.labels("train")), "batch": 8, "optimizer": "sgd", "lr": 0.1}
        return Training(**(fields | changes))

    return make


@pytest.fixture
def loop(digits):
    """A function that makes the object that takes a stage's training steps on digits."""

    def make(stage, model):
        return Step(stage, model, StageInputs(digits, Fields(digits, count=40), ("test",), CPU))

    return make


@pytest.fixture
def type_(monkeypatch, tmp_path, capsys):
    """A function that runs a command of the harness in an empty folder, or in `folder`: exit status, stdout, stderr.

    It runs in this process, which saves the seconds of starting one; an error that is not explained is raised here.
    Warnings of loggers are printed, as Python does by default where pytest does not capture them.
    """

    def type_(*arguments, folder=tmp_path):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        logging.getLogger().addHandler(logging.lastResort)
        try:
            with pytest.raises(SystemExit) as left:
                command.main()
        finally:
            logging.getLogger().removeHandler(logging.lastResort)
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return type_
