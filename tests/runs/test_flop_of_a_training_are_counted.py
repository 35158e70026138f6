"""FLOP of a training are those of its passes, by hand: of a net of one convolution and one linear layer."""

import json

import pytest
import torch
from torch import nn

import harness
from harness.evaluation.work import Work
from harness.runs import build, passes
from harness.runs.passes import flop_of_step, network_passes
from harness.runs.run import Run

FORWARD = 2 * (16 * 9 * 4 + 64 * 10)
"""Products and additions of a 3 x 3 convolution of 4 x 4 pixels to 4 channels, and of a layer from 64 to 10."""

FIRST = 2 * 16 * 9 * 4
"""Those of the convolution, whose gradient in the image training does not need."""


@pytest.fixture
def run(monkeypatch):
    """A function that plans a run whose net is the small one, on images of 4 x 4 pixels."""

    def planned(*words: str) -> Run:
        (found,) = harness.plan(*words)
        with torch.device("meta"):
            net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(64, 10, bias=False))
        monkeypatch.setattr(build, "_net", lambda part, data: net)
        monkeypatch.setattr(type(found.data), "shape", (1, 4, 4))
        return found

    passes._flop_of_image.cache_clear()
    yield planned
    passes._flop_of_image.cache_clear()


def test_a_forward_is_one_a_gradient_in_the_image_two_and_one_in_the_weights_three(run):
    training = 3 * FORWARD - FIRST
    assert flop_of_step(run("method=standard"), "classify", {}) == 128 * training
    assert flop_of_step(run("method=at"), "robust", {}) == 128 * (10 * 2 * FORWARD + FORWARD + training)


def test_a_walk_that_grows_counts_at_its_mean_length(run):
    joint = run("method=atjem")
    full, at_five, none = (flop_of_step(joint, "joint", {"T": steps}) for steps in (20, 5, 0))
    assert flop_of_step(joint, "joint", {}) == full == flop_of_step(joint, "joint", {"T": 99})
    assert full - none == 20 * 128 * 2 * FORWARD and at_five - none == 5 * 128 * 2 * FORWARD


def test_a_gradient_in_the_loss_is_differentiated_again(run):
    (plain,), (penalised,) = (harness.plan("method=atjem", f"method.joint.r1={r1}") for r1 in (0, 1))
    net = json.dumps(plain.config.model, sort_keys=True), plain.data.shape, 10
    passes_of_weights = 384 * passes._flop_of_image("training", False, *net)
    more = flop_of_step(penalised, "joint", {}) - flop_of_step(plain, "joint", {})
    assert passes_of_weights < more < 1.5 * passes_of_weights


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_each_gradient_of_a_grouped_convolution_costs_as_much_as_its_forward(groups):
    forward = 2 * 16 * 9 * (4 // groups) * 4
    with torch.device("meta"), Work() as counter:
        convolution = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        convolution(torch.empty(1, 4, 4, 4, requires_grad=True)).sum().backward()
    assert counter.flop == 3 * forward


def test_no_net_is_run_and_its_size_counts():
    (narrow,), (wide,) = (harness.plan("method=at", f"model.width={width}") for width in (32, 64))
    assert network_passes(narrow) == network_passes(wide)
    assert 3 < flop_of_step(wide, "robust", {}) / flop_of_step(narrow, "robust", {}) < 4
