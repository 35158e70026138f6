"""Curves hold the score's gradient, the energy gap and the validation accuracy of every method, and change no bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commandline import STAGES, quick
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import harness
from harness.core.dataset import BadImage
from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.method import Loss, Stage
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.walk import Walk
from harness.datasets.digits import Digits
from harness.methods.at import Robust
from harness.methods.standard import Classify
from harness.runs.build import initial, stage_inputs
from harness.training import monitors
from harness.training.batches import StageInputs
from harness.training.loop import train
from harness.training.monitors import FEWEST, MOST, PASSES, SHARE, Monitors

CPU = torch.device("cpu")
NAMES = {"score_gradient", "energy_gap", "validation_accuracy"}


def inputs_of(data):
    return StageInputs(data, None, ("test",), CPU)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def logged(folder):
    """The points of the curves without the time, which differs."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines_of(folder)]


def of_linear(weights, bias, x, y):
    """The gradient's square, the gap and the accuracy of f(x) = W (x − ½) / ½ + b, in numpy, image by image."""

    def logits(one):
        return weights @ ((one - 0.5) / 0.5) + bias

    def softmax(f):
        return np.exp(f - f.max()) / np.exp(f - f.max()).sum()

    def score(one):
        return np.log(np.exp(logits(one)).sum())

    squares, gaps = [], []
    few = range(0, len(x), len(x) // 32)[:32]
    for start, label in ((x[i], y[i]) for i in few):
        squares.append(((2 * weights.T @ softmax(logits(start))) ** 2).sum())
        # Three signed steps up the cross-entropy, whose gradient in the logits is p − e_y.
        moved = start
        for _ in range(3):
            slope = 2 * weights.T @ (softmax(logits(moved)) - np.eye(len(bias))[label])
            moved = np.clip(moved + 4 / 255 * np.sign(slope), start - 8 / 255, start + 8 / 255).clip(0, 1)
        gaps.append(score(start) - score(moved))
    right = [logits(one).argmax() == label for one, label in zip(x, y, strict=True)]
    return np.mean(squares), np.mean(gaps), np.mean(right)


@pytest.mark.parametrize("piece", [7, 64])
def test_the_figures_are_those_of_a_linear_net(digits, training, piece):
    torch.manual_seed(0)
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), [0.5], [0.5])
    stage = Classify(training(4, batch=piece))
    found = Monitors(stage, inputs_of(digits), 4, 1, []).measure(model)
    weights, bias = (p.detach().double().numpy() for p in model.parameters())
    x, y = digits.tensors("validation")
    gradient, gap, accuracy = of_linear(weights, bias, x.flatten(1).double().numpy(), y.numpy())
    assert found["score_gradient"] == pytest.approx(gradient, rel=1e-4)
    assert found["energy_gap"] == pytest.approx(gap, rel=1e-4)
    assert found["validation_accuracy"] == pytest.approx(accuracy)


def test_without_a_validation_split_training_images_are_measured(training):
    class Unheld(Digits):
        def length(self, split):
            return 0 if split == "validation" else super().length(split)

    data = Unheld()
    held = Monitors(Classify(training(4)), inputs_of(data), 4, 1, [])
    assert len(held.labels) == monitors.MANY
    x, _ = data.tensors("train")
    assert all((x == one).flatten(1).all(1).any() for one in held.images[:5])


def test_a_validation_split_that_cannot_be_read_is_named(training):
    class Unreadable(Digits):
        def view(self, split, branch):
            return self

        def __getitems__(self, keys):
            raise BadImage(Path("x.png"), ValueError("cut short"))

    with pytest.raises(UserError, match="Not one of 180 images of the validation split"):
        Monitors(Classify(training(4)), inputs_of(Unreadable()), 4, 1, [])


def test_what_is_not_finite_is_left_out_of_the_curves(digits, training):
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), [0.5], [0.5])
    model.net[1].weight.data.fill_(1e38)
    assert set(Monitors(Classify(training(4)), inputs_of(digits), 4, 1, []).measure(model)) == {"validation_accuracy"}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_monitors_change_no_bit_of_training(digits, digits_net, training, tmp_path, monkeypatch, ema):
    stage = Robust(Walk(steps=2, step=0.1, eps=0.5), training(8, ema=ema))

    def trained(folder):
        torch.manual_seed(5)
        train(stage, digits_net(), inputs_of(digits), tmp_path / folder, 1e9, lambda _: None)
        return (tmp_path / folder / "weights.safetensors").read_bytes(), torch.rand(1)

    with_monitors = trained("with")
    monkeypatch.setattr(Monitors, "_figures", lambda *_: {"validation_accuracy": 1.0})
    without = trained("without")
    assert with_monitors[0] == without[0]
    assert with_monitors[1] == without[1], "training's random numbers were touched"
    assert lines_of(tmp_path / "with")[-1].keys() >= NAMES


@pytest.mark.parametrize("method", STAGES)
def test_every_method_has_the_curves(method, tmp_path):
    (run,) = harness.plan(*quick(method, steps=2), f"runs={tmp_path}")
    stage_run = run.stage_runs[-1]
    inputs = stage_inputs(run, stage_run.name, stage_run.stage, CPU)
    train(stage_run.stage, initial(run), inputs, stage_run.folder, 1e9, lambda _: None)
    assert lines_of(stage_run.folder)[-1].keys() >= NAMES


def test_a_resumed_stage_is_measured_as_one_that_was_never_interrupted(digits, digits_net, training, tmp_path):
    stage = Classify(training(12))
    train(stage, digits_net(), inputs_of(digits), tmp_path / "whole", 1e9, lambda _: None)

    def stop(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(stage, digits_net(), inputs_of(digits), tmp_path / "parts", -1, stop)
    train(stage, digits_net(), inputs_of(digits), tmp_path / "parts", -1, lambda _: None)
    assert logged(tmp_path / "parts") == logged(tmp_path / "whole")
    assert sum("energy_gap" in line for line in logged(tmp_path / "whole")) == FEWEST


@settings
class Idle(Stage):
    """A stage with a walk, which is never trained here."""

    walk: Walk
    training: Training
    streams = ("labelled",)

    def loss(self, model, batch, state, shard):
        return Loss({})


@given(steps=st.integers(1, 10**6), batch=st.integers(1, 512), walked=st.integers(0, 100))
def test_measurements_are_few_at_equal_distances_and_take_a_percent(digits, steps, batch, walked):
    every = -(-steps // 500)
    stage = Idle(Walk(steps=walked, step=0.1), Training(epochs=1, batch=batch, optimizer="sgd", lr=0.1))
    moments = sorted(Monitors(stage, inputs_of(digits), steps, every, []).moments)
    assert moments[-1] == steps and len(moments) <= min(MOST, steps)
    assert all(step % every == 0 or step == steps for step in moments), "they must be among the logged points"
    passes = steps * batch * (1 + walked)
    assert len(moments) <= FEWEST or PASSES * len(moments) <= SHARE * passes
    gaps = np.diff([0, *moments])
    assert gaps.max() - gaps.min() <= 2 * every
