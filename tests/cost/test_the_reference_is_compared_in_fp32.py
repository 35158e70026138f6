"""The reference computes in true fp32, as ours and the floor do, and on a GPU once more by torch's defaults."""

import pytest
import torch

import harness
from harness.core.device import computing, full_precision
from harness.core.energy import EnergyModel
from harness.cost import rounds, sampling
from harness.cost.bench import _step
from harness.cost.rounds import DEFAULTS, FLOOR, OURS, REFERENCE, Timing, cost, references
from harness.cost.table import notes

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL = ("threads=1", "tracking=off", "model.width=4")


def tf32():
    """Whether convolutions and matrix products may use TF32."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def seen(monkeypatch):
    """For each variant that is timed, the values of `tf32` in its passes through the net."""
    seen, forward = {}, EnergyModel.forward

    def noting(work, name):
        def noted():
            with monkeypatch.context() as patch:
                patch.setattr(
                    EnergyModel, "forward", lambda *given: seen.setdefault(name, set()).add(tf32()) or forward(*given)
                )
                return work()

        return noted

    def timed(variants, afresh, rounds, device):
        return time_in_turn({name: noting(work, name) for name, work in variants.items()}, afresh, rounds, device)

    time_in_turn = rounds.time_in_turn
    for module in (rounds, sampling):
        monkeypatch.setattr(module, "time_in_turn", timed)
    return seen


def test_a_training_step(seen):
    (run,) = harness.plan("method=atjem", *SMALL)
    assert tf32()[0], "torch's default, which other code gets"
    cost("joint", _step(run, run.stage_runs[-1], CPU, 4), 1, "CPU")
    assert seen == {name: {(False, False)} for name in (OURS, REFERENCE, FLOOR)}


def test_sampling(seen):
    (run,) = harness.plan("method=atjem", *SMALL)
    sampling.measure_sampling(run, CPU, 1, 4)
    assert seen == {name: {(False, False)} for name in (OURS, REFERENCE, FLOOR)}


def test_a_step_in_less_is_still_compared_with_fp32(seen):
    (run,) = harness.plan("method=atjem", "precision=tf32", *SMALL)
    cost("joint", _step(run, run.stage_runs[-1], CPU, 4), 1, "CPU")
    assert seen == {OURS: {(True, True)}, REFERENCE: {(False, False)}, FLOOR: {(True, True)}}


def test_on_a_gpu_the_reference_runs_by_torchs_defaults_too():
    assert list(references(tf32, CPU)) == [REFERENCE]
    works = references(tf32, CUDA)
    assert {name: work() for name, work in works.items()} == {REFERENCE: (False, False), DEFAULTS: tf32()}
    assert tf32() == (True, False)


def test_the_second_reference_is_explained():
    seconds = {OURS: [1.0], REFERENCE: [4.0], DEFAULTS: [2.0]}
    timing = Timing("stage joint", "GPU", 128, False, seconds, {}, {})
    assert any("TF32" in line for line in notes(timing)) and timing.ratio(DEFAULTS) == (2, 2, 2)
    del seconds[DEFAULTS]
    assert not any("TF32" in line for line in notes(timing))


def test_the_reference_keeps_torchs_order_of_weights(monkeypatch):
    """The reference is code that knows nothing of channels-last weights, whatever ours does."""
    (run,) = harness.plan("method=standard", *SMALL)
    step = _step(run, run.stage_runs[0], CPU, 4)
    step.model.to(memory_format=torch.channels_last)
    models = []
    monkeypatch.setattr(rounds, "PlainStep", lambda stage, model, average, state: models.append(model) or Plain())
    cost("classify", step, 1, "CPU")
    assert models[0].net.conv1.weight.is_contiguous() and not step.model.net.conv1.weight.is_contiguous()


class Plain:
    def step(self, batch):
        return {}


def test_contexts_of_fp32_agree():
    with full_precision():
        inside = tf32()
    with computing("fp32", CPU):
        assert tf32() == inside == (False, False)
