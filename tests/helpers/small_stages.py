"""Small settings of stages, and the checks that tests of their losses share."""

import numpy as np
import torch

from harness.core.optim import Training
from harness.core.walk import Walk
from harness.methods import jempp

B = 6


TRAINING = Training(epochs=1, batch=B, optimizer="sgd", lr=0.1)


ATTACK = Walk(steps=5, step=0.2, eps=0.5)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def check(net, small, loss, expected):
    """Assert that terms and parameter gradients equal the formulas, each a function without arguments."""
    assert set(loss.terms) == {name for name, _ in expected}
    for name, formula in expected:
        np.testing.assert_allclose(loss.terms[name].item(), formula(), rtol=1e-10, err_msg=name)
    ours = torch.autograd.grad(sum(loss.terms.values()), list(net.parameters()))
    theirs = small.parameter_gradients(lambda: sum(formula() for _, formula in expected))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-10, atol=1e-12)


PSGLD = Walk(steps=4, step=0.05, direction="raw", limit=1.5)


CHAINS = jempp.InformativeChains(PSGLD, buffer=B, restart=0)


LINF = Walk(steps=5, step=0.04, eps=0.1, norm="linf")


INNER = ("ce", "energy_up", "joint_down", "released")


def buffer():
    """A buffer that a step draws completely, so that means over its chains do not depend on their order."""
    return {"buffer": torch.rand(B, 1, 4, 4, dtype=torch.double, generator=rng(9)), **gaussians()}


def gaussians():
    return {"means": torch.full((5, 16), 0.5).double(), "roots": torch.eye(16).double().repeat(5, 1, 1)}
