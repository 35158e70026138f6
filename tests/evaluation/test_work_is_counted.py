"""The work of a net is counted as one counts by hand: multiplications and additions of convolutions and products."""

import pytest
import torch
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.walk import Walk, joint_logit, marginal_score, walk
from harness.evaluation.work import counted

IMAGES, SIDE, WIDTH, CLASSES = 3, 6, 4, 5
# A convolution of 3 x 3 from one channel, then a product with all its outputs: 2 operations for each weight and place.
CONVOLUTION = 2 * 9 * WIDTH * SIDE**2
PRODUCT = 2 * WIDTH * SIDE**2 * CLASSES


@pytest.fixture
def model():
    layers = nn.Conv2d(1, WIDTH, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(WIDTH * SIDE**2, CLASSES)
    return EnergyModel(nn.Sequential(*layers), [0.5], [0.5])


def test_a_pass_without_a_gradient(model):
    with counted(model) as work, torch.no_grad():
        model(torch.rand(IMAGES, 1, SIDE, SIDE))
    assert (work.passes, work.flop) == (IMAGES, IMAGES * (CONVOLUTION + PRODUCT))


@pytest.mark.parametrize("objective", [marginal_score, joint_logit(torch.arange(IMAGES))])
def test_a_walk_takes_as_many_passes_as_steps_and_a_gradient_in_the_image_costs_as_much_as_a_pass(model, objective):
    with counted(model) as work:
        walk(model, torch.rand(IMAGES, 1, SIDE, SIDE), objective, Walk(steps=7, step=0.1))
    assert work.passes == 7 * IMAGES and work.flop == 7 * IMAGES * 2 * (CONVOLUTION + PRODUCT)


def test_what_follows_is_not_counted(model):
    with counted(model) as work:
        pass
    model(torch.rand(IMAGES, 1, SIDE, SIDE))
    assert (work.passes, work.flop) == (0, 0)
