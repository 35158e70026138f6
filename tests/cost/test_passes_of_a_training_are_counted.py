"""The passes of a training are those of its formula: steps of walks, and images that the weights learn from."""

import pytest

import harness
from harness.runs.passes import network_passes

IMAGES = 1257

PER_IMAGE = {
    "standard": {"classify": 1},
    "at": {"robust": 10 + 1},
    "atjem": {"robust": 10 + 1, "joint": 10 + 20 + 3},
    "generative": {"robust": 10 + 1, "generate": 20 + 2},
    "jem": {"energy": 10 + 3},
    "jempp": {"energy": 10 + 3},
    "sadajem": {"energy": (5 + 2 * 2) / 2 + 2 * 1},
    "trades": {"tradeoff": 10 + 2},
    "ratio": {"inout": 10 + 20 + 2},
    "weat": {"weighted": 10 + 2},
    "mart": {"aware": 10 + 2},
    "robustjem": {"energy": 5 + 10 + 3},
    "energyood": {"classify": 1, "tune": 2},
    "hdge": {"hybrid": 1},
    "atebm": {"binary": 20 + 2 + 2},
}
"""Passes for a labelled image in one epoch, by hand: the steps of each walk, then the images of the loss.

SADA-JEM takes half as many real images as labelled ones, and all of its loss twice, as it is sharpness-aware.
"""


def by_hand(run, name):
    training = run.method.stages[name].training
    return PER_IMAGE[run.config.method["name"]][name] * training.steps(IMAGES) * training.batch / IMAGES


@pytest.mark.parametrize("method", PER_IMAGE)
def test_they_are_those_of_the_formula(method):
    (run,) = harness.plan(f"method={method}")
    assert network_passes(run) == pytest.approx({name: by_hand(run, name) for name in run.method.stages})


def test_a_budget_and_other_images_scale_them():
    (whole,), (tenth,) = harness.plan("method=jem"), harness.plan("method=jem", "budget=0.1")
    assert network_passes(tenth)["energy"] == pytest.approx(network_passes(whole)["energy"] / 10, rel=0.01)


def test_they_are_the_same_for_a_larger_net_and_in_another_order_of_calls():
    (small,), (large,) = harness.plan("method=atjem", "model.width=4"), harness.plan("method=atjem", "seed=5")
    assert network_passes(small) == network_passes(large) == network_passes(small)


def test_adversarial_weight_perturbation_computes_the_loss_twice_and_attacks_once():
    (run,) = harness.plan("method=mart", "method.aware.training.awp=0.01")
    training = run.method.stages["aware"].training
    assert network_passes(run)["aware"] == (10 + 2 * 2) * training.steps(IMAGES) * training.batch / IMAGES


def test_plan_shows_them(type_):
    status, text, _ = type_("plan", "-m", "method=jem", "seed=0,1", "passes=true")
    assert status == 0 and text.count("energy 910") == 1
