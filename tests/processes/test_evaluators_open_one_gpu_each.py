"""Each process of an evaluation opens its own GPU and no other, and finds the memory there that training has left.

No GPU: torch's functions are replaced by ones that note which GPU they would open.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from harness.evaluation import workers
from harness.runs import build
from harness.runs.compose import compose


@pytest.fixture
def opened(monkeypatch):
    """The GPUs that calls of torch would open on a machine with three, in their order."""
    opened, current = [], [0]

    def set_device(device):
        current[0] = device.index
        opened.append(device.index)

    def empty(*shape, device):
        opened.append(current[0] if device.index is None else device.index)

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("torch.cuda.set_device", set_device)
    monkeypatch.setattr("torch.empty", empty)
    return opened


@pytest.mark.parametrize(
    ("device", "rank", "gpu"),
    [("auto", 0, 0), ("auto", 2, 2), ("auto", 4, 1), ("cuda:1", 2, 1)],
)
def test_a_process_opens_its_gpu_alone(opened, monkeypatch, device, rank, gpu):
    (config,) = compose([f"device={device}", "threads=1"])
    monkeypatch.setattr(build, "load", lambda folder: SimpleNamespace(config=config))
    monkeypatch.setattr(build, "evaluation", lambda run, device: device)
    assert build.evaluation_of(Path("run"), rank) == torch.device("cuda", gpu)
    assert set(opened) == {gpu}


def test_the_parent_gives_back_what_it_holds_before_they_start(monkeypatch):
    order = []
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: order.append("memory is given back"))

    def start(*arguments, **options):
        order.append("processes start")
        return SimpleNamespace(join=lambda timeout: True, processes=[])

    monkeypatch.setattr(workers, "start_processes", start)
    pieces = [SimpleNamespace(path=Path("none"), name="samples")]
    evaluation = SimpleNamespace(
        subject=SimpleNamespace(device=torch.device("cuda")), pieces=lambda phase: pieces,
        finish=lambda phase: None, folder=Path("run"),
    )  # fmt: skip
    workers.run_pieces(evaluation, 2, lambda rank: evaluation, lambda *progress: None)
    assert order and order == ["memory is given back", "processes start"] * len(workers.PHASES)
