"""`harness check` tries a method on the device that the config names, deterministic and without TF32.

The CPU has two names for torch, cpu and cpu:0, and the second is never a default: it stands for a GPU here.
"""

import pytest
import torch

import harness
from harness.runs import contract
from harness.runs.contract import verdicts
from harness.training.step import Step

CPU = torch.device("cpu:0")
SMALL = ("model.width=4", "outliers.count=100", "threads=1", "tracking=off")


@pytest.mark.parametrize("method", ["atjem", "jempp"])
def test_every_promise_is_checked_there(method, monkeypatch):
    (run,) = harness.plan(f"method={method}", "device=cpu:0", *SMALL)
    devices, settings, draw = [], [], contract.draw

    class Watched(Step):
        def __init__(self, stage, model, inputs):
            devices.append(inputs.device)
            settings.append((torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32))
            super().__init__(stage, model, inputs)

    monkeypatch.setattr(contract, "Step", Watched)
    monkeypatch.setattr(contract, "draw", lambda *given: devices.append(given[-1]) or draw(*given))
    checked = dict(verdicts(run))
    assert len(checked) == len(contract.PROMISES) and set(checked.values()) == {None}
    assert set(devices) == {CPU} != {torch.device("cpu")} and len(devices) > 10
    assert set(settings) == {(True, False)}


def test_a_device_that_is_not_there_is_explained(type_):
    status, told, err = type_("check", "method=at", "device=cuda:7", *SMALL)
    assert status == 2 and "device=cuda:7" in err and "ok" not in told


def test_the_command_checks_on_the_device(type_, monkeypatch):
    seen, prepare = [], contract.prepare
    monkeypatch.setattr(contract, "prepare", lambda config: seen.append(config.device) or prepare(config))
    status, told, err = type_("check", "method=standard", "device=cpu:0", *SMALL)
    assert status == 0 and seen == ["cpu:0"] and told.count("ok  ") == len(contract.PROMISES), err
