"""A loss or weights out of bounds end a run as diverged; its checkpoints are kept and no stage counts as done."""

import math

import pytest
import torch

from harness.core.errors import Diverged
from harness.core.method import Loss, Stage
from harness.core.optim import Training
from harness.core.settings import settings
from harness.evaluation.samples import draw
from harness.training import checkpoint
from harness.training.batches import StageInputs
from harness.training.loop import train

CPU = torch.device("cpu")


@settings
class Failing(Stage):
    """A finite loss up to step `at`, then with an additional term equal to `value`."""

    training: Training
    value: float
    at: int
    streams = ("real",)

    def state(self, data, rng):
        return {"step": torch.tensor(0)}

    def loss(self, model, batch, state, rng):
        score = model.energy(batch.images["real"]).mean()
        state["step"] += 1
        if int(state["step"]) > self.at:
            return Loss({"sound": score, "failing": score * 0 + self.value})
        return Loss({"sound": score})


@settings
class Poisoned(Stage):
    """A finite loss with an infinite gradient: √0."""

    training: Training
    streams = ("real",)

    def loss(self, model, batch, state, rng):
        return Loss({"root": (model.energy(batch.images["real"]).mean() * 0).sqrt()})


def load_newest(folder, device):
    path = checkpoint.newest(folder)
    return None if path is None else checkpoint.load(path)


def run(stage, model, digits, folder):
    train(stage, model, StageInputs(digits, None, ("test",), CPU), folder, checkpoint_seconds=-1, watch=lambda _: None)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2e8, -2e8])
def test_a_loss_that_is_not_finite_or_beyond_its_bound_ends_the_run(digits, digits_net, training, tmp_path, value):
    with pytest.raises(Diverged, match="step 4 of 6") as caught:
        run(Failing(training(6, lr=1e-3), value, at=3), digits_net(), digits, tmp_path)
    assert "failing" in str(caught.value)
    assert not (tmp_path / "done.json").exists()
    assert not (tmp_path / "weights.safetensors").exists()
    kept = load_newest(tmp_path / "checkpoints", CPU)
    assert kept["step"] == 3
    assert all(value.isfinite().all() for value in kept["model"].values())


def test_a_loss_within_its_bound_goes_on_and_the_bound_is_the_setting_s(digits, digits_net, training, tmp_path):
    run(Failing(training(6, lr=1e-3), 9e7, at=3), digits_net(), digits, tmp_path / "within")
    assert (tmp_path / "within" / "done.json").exists()
    with pytest.raises(Diverged):
        run(Failing(training(6, lr=1e-3, bound=50.0), 100.0, at=3), digits_net(), digits, tmp_path / "beyond")


@pytest.mark.parametrize("ema", [None, 0.999])
def test_final_weights_that_are_not_finite_are_a_divergence(digits, digits_net, training, tmp_path, ema):
    with pytest.raises(Diverged, match="weights"):
        run(Poisoned(training(1, ema=ema)), digits_net(), digits, tmp_path)
    assert not (tmp_path / "done.json").exists()
    assert not (tmp_path / "weights.safetensors").exists()
    assert checkpoint.list_checkpoints(tmp_path / "checkpoints")


def test_weights_poisoned_before_the_last_step_are_met_by_the_next_loss(digits, digits_net, training, tmp_path):
    with pytest.raises(Diverged, match="step 2 of 3"):
        run(Poisoned(training(3)), digits_net(), digits, tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_not_finite_are_a_divergence(value):
    class Broken:
        def sample(self, model, starts, labels, state, rng):
            return starts + torch.tensor([0.0, value, 0.0, 0.0]).view(-1, 1, 1, 1)

    class Black:
        def starts(self, indices):
            return torch.zeros(len(indices), 1, 2, 2)

    with pytest.raises(Diverged):
        draw(Broken(), None, {}, Black(), 2, 0, range(4), CPU)
