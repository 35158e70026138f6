"""Sharpness-aware minimisation takes gradients at the perturbed weights and changes nothing except the gradients."""

import pytest
import torch
from torch import nn

from harness.core.optim import Training, sharpest
from harness.core.shard import Shard
from harness.core.walk import Walk
from harness.methods.jempp import InformativeChains
from harness.methods.sadajem import Energy
from harness.methods.standard import Classify

CHAINS = InformativeChains(Walk(steps=2, step=0.05, direction="raw", limit=2.0, statistics="batch"), buffer=20)


def how(sharpness, adaptive):
    return Training(epochs=1, batch=8, optimizer="sgd", lr=0.1, sharpness=sharpness, adaptive=adaptive)


class Quadratic(nn.Module):
    """The function ½ θᵀHθ − bᵀθ of two parameter tensors; one entry of θ is 0."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        root = torch.randn(5, 5, dtype=torch.double, generator=generator)
        self.h, self.b = root @ root.T, torch.randn(5, dtype=torch.double, generator=generator)
        self.first = nn.Parameter(torch.tensor([1.5, 0.0, -0.3], dtype=torch.double))
        self.second = nn.Parameter(torch.tensor([0.01, -4.0], dtype=torch.double))

    @property
    def theta(self):
        return torch.cat([self.first, self.second])

    def gradient(self):
        value = self.theta @ self.h @ self.theta / 2 - self.b @ self.theta
        return torch.cat(torch.autograd.grad(value, [self.first, self.second]))


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("rho", [0.05, 2.0])
def test_gradients_are_those_at_the_sharpest_weights_nearby(rho, adaptive):
    model = Quadratic()
    theta = model.theta.detach()
    gradient = model.h @ theta - model.b
    scale = theta.abs() if adaptive else torch.ones_like(theta)
    epsilon = rho * scale**2 * gradient / (scale * gradient).norm()
    model.first.grad, model.second.grad = gradient[:3].clone(), gradient[3:].clone()
    with sharpest(model, how(rho, adaptive)):
        moved = model.theta.detach() - theta
        torch.testing.assert_close(moved, epsilon, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(model.gradient(), model.h @ (theta + epsilon) - model.b, rtol=1e-10, atol=1e-12)
    relative = (moved / scale)[scale > 0]
    assert relative.norm().item() == pytest.approx(rho, rel=1e-10), "the norm must be taken over all parameters jointly"
    assert (moved[1] == 0) == adaptive, "only the adaptive perturbation must leave a zero weight unchanged"
    assert torch.equal(model.theta, theta), "the weights must be restored bit for bit"


def begun(loop, digits_net, rho, **changes):
    training = changes.pop("training")(1, sharpness=rho, nesterov=False, **changes)
    one = loop(Energy(CHAINS, training), digits_net())
    return one


def by_hand(one, batch, rho, lr, decay):
    """The weights after a first step of SGD, computed independently from the loss."""
    one.model.train()
    state = {**one.constants, **{name: value.clone() for name, value in one.state.items()}}
    loss = one.stage.loss(one.model, batch, state, Shard(one.rng("step", 0)))
    parameters = list(one.model.parameters())
    gradients = torch.autograd.grad(loss.total, parameters)
    before = [p.detach().clone() for p in parameters]
    if rho:
        length = sum((p * g).square().sum() for p, g in zip(before, gradients, strict=True)).sqrt()
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p += rho * p.square() * g / length
        again = loss.recompute or one.stage.loss(one.model, batch, state, Shard(one.rng("step", 0))).terms.copy
        gradients = torch.autograd.grad(sum(again().values()), parameters)
        with torch.no_grad():
            for p, value in zip(parameters, before, strict=True):
                p.copy_(value)
    return [p - lr * (g + decay * p) for p, g in zip(before, gradients, strict=True)]


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_a_step_is_sgd_by_the_gradients_at_the_sharpest_weights(loop, digits_net, training, rho):
    one = begun(loop, digits_net, rho, training=training, weight_decay=0.1)
    _, batch = next(one.batches())
    expected = by_hand(one, batch, rho, 0.1, 0.1)
    plain = by_hand(one, batch, 0.0, 0.1, 0.1)
    one(0, batch)
    for ours, theirs in zip(one.model.parameters(), expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(a, b, rtol=1e-3) for a, b in zip(expected, plain, strict=True)) == (rho > 0)


def test_the_second_pass_leaves_running_statistics_alone(loop, digits_net, training):
    once, twice = (begun(loop, digits_net, rho, training=training) for rho in (0.0, 0.5))
    _, batch = next(once.batches())
    once(0, batch), twice(0, batch)
    buffers = dict(twice.model.named_buffers())
    assert any("running_var" in name for name in buffers)
    for name, value in once.model.named_buffers():
        assert torch.equal(value, buffers[name]), name
    assert all(m.track_running_stats for m in twice.model.modules() if isinstance(m, nn.BatchNorm2d))


def test_a_stage_that_does_not_say_how_to_compute_its_loss_again_is_trained_so_too(loop, digits_net, training):
    one = loop(Classify(training(1, sharpness=0.5, nesterov=False)), digits_net())
    _, batch = next(one.batches())
    expected = by_hand(one, batch, 0.5, 0.1, 0)
    one(0, batch)
    for ours, theirs in zip(one.model.parameters(), expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-4, atol=1e-6)
