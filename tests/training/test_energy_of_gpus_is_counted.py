"""GPU energy is counted across interruptions where the driver reports it, and is None where it does not."""

import sys
from types import SimpleNamespace

import pytest
import torch
from pages import COST, STAGE, row

from harness.core.distributed import ALONE
from harness.reports.columns import costs
from harness.reports.series import Series
from harness.training.meter import Meter, gpu_joules

GPU = torch.device("cuda", 0)


class Refused(Exception):
    """The error that NVML raises."""


@pytest.fixture
def nvml(monkeypatch):
    """A fake NVML whose only GPU reports `nvml.joules`, or raises an error where that is None."""
    fake = SimpleNamespace(joules=100.0, NVMLError=Refused, nvmlInit=lambda: None)

    def consumption(handle):
        assert handle == "GPU-0a1b"
        if fake.joules is None:
            raise Refused
        return fake.joules * 1000

    fake.nvmlDeviceGetHandleByUUID, fake.nvmlDeviceGetTotalEnergyConsumption = lambda uuid: uuid, consumption
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid="0a1b"))
    return fake


def test_energy_is_what_was_used_since_the_beginning_and_before_it(nvml):
    meter = Meter(GPU, ALONE)
    nvml.joules += 5
    saved = {"seconds": 7.0, "joules": meter.joules()}
    assert saved["joules"] == 5
    nvml.joules += 1000  # used by other processes while training is interrupted
    resumed = Meter(GPU, ALONE, saved)
    nvml.joules += 3
    assert resumed.joules() == 8 and resumed.seconds >= 7


@pytest.mark.parametrize("before", [{"seconds": 7.0, "joules": None}, {"seconds": 7.0}])
def test_energy_is_unknown_where_it_was_once(nvml, before):
    meter = Meter(GPU, ALONE, before)
    assert meter.joules() is None and meter.seconds >= 7


def test_a_gpu_that_does_not_tell_and_a_cpu_have_none(nvml):
    nvml.joules = None
    assert Meter(GPU, ALONE).joules() is None
    assert Meter(torch.device("cpu"), ALONE).joules() is None
    assert gpu_joules(torch.device("cpu")) != gpu_joules(torch.device("cpu")), "it must be NaN"


def test_a_machine_without_the_library_of_drivers_tells_none(monkeypatch):
    """A GPU is there; nvidia-ml-py is not, as where the step benchmark runs on torch, torchvision and timm alone."""
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it then fails
    meter = Meter(GPU, ALONE)
    assert meter.joules() is None and meter.seconds >= 0


def test_a_run_has_the_energy_of_all_its_stages_or_none():
    stages = [STAGE.model_copy(update={"joules": joules}) for joules in (1.8e6, 3.6e6)]
    assert COST.model_copy(update={"stages": stages}).training_kwh == 1.5
    assert COST.model_copy(update={"stages": [*stages, STAGE]}).training_kwh is None
    assert COST.model_copy(update={"stages": []}).training_kwh is None


def test_the_table_of_costs_shows_it_where_it_is_known(tmp_path):
    known = COST.model_copy(update={"stages": [STAGE.model_copy(update={"joules": 7.2e6})]})
    for cost, wanted in ((known, "2"), (COST, None)):
        series = Series([row(tmp_path / str(wanted), cost=cost)])
        cells = {column.header: column.cell(series).text for column in costs([series])}
        assert cells.get("energy of GPUs, kWh") == wanted and "peak memory, GB" in cells
