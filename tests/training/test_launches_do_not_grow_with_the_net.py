"""What a step does to all weights at once asks the device once for all of them, and gives the bits it always gave."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from harness.core.distributed import World
from harness.core.energy import EnergyModel
from harness.core.optim import Training, sharpest
from harness.models.digits import Digits
from harness.training.step import average_gradients

ASAM = Training(epochs=1, batch=8, optimizer="sgd", lr=0.1, sharpness=0.5)


class Work(TorchDispatchMode):
    """The number of operators that compute or copy; views cost nothing on a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


class Two(World):
    """The first of two ranks; the other one has the same gradients."""

    def sum(self, x):
        return x.mul_(2)


def with_gradients(layers):
    torch.manual_seed(0)
    model = EnergyModel(nn.Sequential(*[nn.Linear(4, 4) for _ in range(layers)]), [0.5], [0.5])
    for p in model.parameters():
        p.grad = torch.randn(p.shape)
    return model


def climb(model):
    with sharpest(model, ASAM):
        pass


WORKS = {"climb": (climb, 1), "average": (lambda model: average_gradients(model, Two(0, 2)), 0)}
"""What is done to all weights, and the operators that each tensor may still need: a copy to return to."""


@pytest.mark.parametrize("name", WORKS)
def test_operators(name):
    work, each = WORKS[name]
    counts = []
    for layers in (2, 6):
        model = with_gradients(layers)
        with Work() as operators:
            work(model)
        counts.append(operators.count)
    assert counts[1] - counts[0] <= each * 2 * 4 and counts[0] > 0


def one_by_one(model, how):
    """The sharpest weights nearby, computed tensor by tensor in the order of the formula."""
    parameters = list(model.parameters())
    scale = [p.detach().abs() if how.adaptive else torch.ones_like(p) for p in parameters]
    scaled = [t * p.grad for t, p in zip(scale, parameters, strict=True)]
    length = torch.stack([s.norm() for s in scaled]).norm() + 1e-12
    return [p + how.sharpness * t * s / length for p, t, s in zip(parameters, scale, scaled, strict=True)]


@pytest.mark.parametrize("adaptive", [True, False])
def test_the_sharpest_weights_have_the_same_bits_as_one_by_one(adaptive):
    torch.manual_seed(0)
    model = EnergyModel(Digits(10, 1, 8, "batch", "silu"), [0.5], [0.5])
    for p in model.parameters():
        p.grad = torch.randn(p.shape)
    how = Training(epochs=1, batch=8, optimizer="sgd", lr=0.1, sharpness=0.2, adaptive=adaptive)
    expected, before = one_by_one(model, how), [p.detach().clone() for p in model.parameters()]
    with sharpest(model, how):
        assert all(torch.equal(p, one) for p, one in zip(model.parameters(), expected, strict=True))
    assert all(torch.equal(p, one) for p, one in zip(model.parameters(), before, strict=True))


def test_averaged_gradients_are_put_back_where_they_belong():
    model = with_gradients(3)
    before = [p.grad.clone() for p in model.parameters()]
    average_gradients(model, Two(0, 2))
    assert all(torch.equal(p.grad, one) for p, one in zip(model.parameters(), before, strict=True))
