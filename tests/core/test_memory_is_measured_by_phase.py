"""On a GPU each stage, and the evaluation, has a peak memory of its own; what the one before kept is released first.

No GPU: torch's counters are replaced, and the real run beside them computes on the CPU.
"""

import pytest
import torch
from commandline import bare

import harness
from harness.core import device
from harness.evaluation import evaluator
from harness.runs import execute
from harness.training import loop

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class Memory:
    """A GPU's counters of allocated and kept memory, in MB."""

    def __init__(self):
        self.peak = self.kept = 0
        self.resets = []

    def use(self, amount):
        self.peak, self.kept = max(self.peak, amount), max(self.kept, amount)

    def reset_peak(self, *given):
        self.resets.append(self.kept)
        self.peak = 0

    def release(self, *given):
        self.kept = 0


def test_stages_and_evaluation_have_peaks_of_their_own(monkeypatch, tmp_path):
    memory = Memory()
    needs = iter([300, 100])
    for module in (loop, execute):
        monkeypatch.setattr(module, "reset_peak_memory", memory.reset_peak)
        monkeypatch.setattr(module, "release_memory", memory.release)
        monkeypatch.setattr(module, "peak_memory_mb", lambda device: memory.peak)
    trained, judged = loop.Step.batches, evaluator.Evaluation.canaries

    def batches(step, start=0):
        memory.use(next(needs))
        return trained(step, start)

    def canaries(evaluation):
        memory.use(200)
        return judged(evaluation)

    monkeypatch.setattr(loop.Step, "batches", batches)
    monkeypatch.setattr(evaluator.Evaluation, "canaries", canaries)
    memory.use(900)  # by an earlier run of the same command
    (run,) = harness.plan(*bare("atjem", 2, ("fidelity",)), f"runs={tmp_path}")
    cost = harness.run(run).cost
    assert [stage.peak_memory_mb for stage in cost.stages] == [300, 100]
    assert memory.peak == 200 and cost.peak_memory_mb == 300
    assert memory.resets == [0, 0, 0], "what was kept must be released before a count begins"


def test_a_gpu_is_asked_for_it(monkeypatch):
    asked = []
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *given, name=name: asked.append((name, *given)))
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: 7_000_001)
    device.release_memory(GPU)
    device.reset_peak_memory(GPU)
    assert asked == [("empty_cache",), ("reset_peak_memory_stats", GPU)]
    assert device.peak_memory_mb(GPU) == 7


def test_on_a_cpu_the_peak_is_that_of_the_process(monkeypatch):
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(f"torch.cuda.{name}", pytest.fail)
    before = device.peak_memory_mb(CPU)
    device.release_memory(CPU)
    device.reset_peak_memory(CPU)
    assert device.peak_memory_mb(CPU) >= before > 0
