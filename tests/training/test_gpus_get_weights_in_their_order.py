"""Weights are kept in channels-last order where a GPU learns in tf32 or bf16, and nowhere else; values never change.

No GPU is needed: a step is built for one, and the device of its tensors stays the CPU.
"""

import pytest
import torch

import harness
from harness.core.random import generator
from harness.runs.build import initial
from harness.training.batches import StageInputs
from harness.training.checkpoint import copy_to_cpu, load, newest, save
from harness.training.step import Step

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
LAST = torch.channels_last


@pytest.fixture(autouse=True)
def _draws_on_the_cpu(monkeypatch):
    monkeypatch.setattr(Step, "rng", lambda step, *key: generator(CPU, *step.inputs.key, *key))


def step_of(precision, device):
    (run,) = harness.plan("method=standard", f"precision={precision}", "threads=1", "tracking=off", "model.width=8")
    return Step(run.stage_runs[0].stage, initial(run), StageInputs(run.data, None, (0,), device))


def kernels(model):
    """The weights of convolutions with more than one input channel, whose order can be told."""
    return [p for p in model.parameters() if p.dim() == 4 and p.shape[1] > 1]


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_the_order_of_weights_and_their_average(precision, device):
    step, plain = step_of(precision, device), step_of("fp32", CPU)
    expected = device == CUDA and precision != "fp32"
    for model in (step.model, step.average.module):
        assert [p.is_contiguous(memory_format=LAST) for p in kernels(model)] == [expected] * 3
    states = step.model.state_dict(), plain.model.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_checkpoint_passes_from_one_order_to_the_other(tmp_path):
    last, first = step_of("tf32", CUDA), step_of("tf32", CPU)
    _, batch = next(first.batches())
    for step in (last, first):
        object.__setattr__(step.inputs, "device", CPU)  # the arithmetic is the CPU's
        for number in range(2):
            step(number, batch)
    assert all(p.grad is None and p.is_contiguous(memory_format=LAST) for p in kernels(last.model))
    for name, value in last.model.state_dict().items():
        torch.testing.assert_close(value, first.model.state_dict()[name], rtol=1e-3, atol=1e-4)
    save(tmp_path, 2, copy_to_cpu(last.content()))
    other = step_of("tf32", CPU)
    other.restore(load(newest(tmp_path)))
    for name, value in other.content()["model"].items():
        assert torch.equal(value, last.model.state_dict()[name])
    assert not any(p.is_contiguous(memory_format=LAST) for p in kernels(other.model))
    averages = other.average.state_dict(), last.average.state_dict()
    assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())
    other(2, batch)  # the optimiser's sums, which come in the other order, are taken too
