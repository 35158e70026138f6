"""L1 and L1.5 balls: projections are the nearest points of ball and image box, and steps rise most steeply."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog, minimize

from harness.core.walk import Walk, joint_logit, project, walk

POWERS = {"l1": 1.0, "l1.5": 1.5}
NORMS = st.sampled_from([*POWERS])
SEEDS = st.integers(0, 2**31)


def points(seed, pixels=16, n=3, far=1.0, dtype=torch.double):
    """Centres in [0, 1], of which some pixels lie on the border, and points up to `far` away in each pixel."""
    rng = torch.Generator().manual_seed(seed)
    centre = (1.6 * torch.rand(n, 1, 1, pixels, dtype=dtype, generator=rng) - 0.3).clamp(0, 1)
    return centre, centre + far * (2 * torch.rand(centre.shape, dtype=dtype, generator=rng) - 1)


def ball(norm, eps, clamp=True):
    return Walk(steps=1, step=1.0, eps=eps, norm=norm, clamp=clamp)


def length(offset, norm):
    return offset.abs().pow(POWERS[norm]).flatten(1).sum(1).pow(1 / POWERS[norm])


@settings(max_examples=30)
@given(SEEDS, NORMS, st.floats(0.01, 20), st.floats(0, 3), st.sampled_from([torch.float, torch.double]), st.booleans())
def test_it_lies_in_the_ball_and_in_the_box_and_stays_where_it_is(seed, norm, eps, far, dtype, clamp):
    centre, x = points(seed, far=far, dtype=dtype)
    how, near = ball(norm, eps, clamp), 1e-9 if dtype == torch.double else 1e-5
    found = project(x, centre, how)
    assert found.dtype == dtype and found.isfinite().all()
    assert (length(found - centre, norm) <= eps * (1 + near)).all()
    assert not clamp or (found.min() >= 0 and found.max() <= 1)
    torch.testing.assert_close(project(found, centre, how), found, rtol=0, atol=near)
    # A point of both sets is its own projection; if any other was moved, it lies on a border.
    inside = (length((x.clamp(0, 1) if clamp else x) - centre, norm) <= eps * (1 - near))[:, None, None, None]
    expected = torch.where(inside, x.clamp(0, 1) if clamp else x, found)
    torch.testing.assert_close(found, expected, rtol=0, atol=near)
    assert (inside.flatten() | (length(found - centre, norm) >= eps * (1 - 100 * near))).all()


@settings(max_examples=25)
@given(SEEDS, NORMS, st.floats(0.05, 2), st.booleans())
def test_it_is_the_nearest_point_as_scipy_finds_it(seed, norm, eps, clamp):
    """The offset is a difference of two vectors that are 0 or more, whose powers and differences are smooth."""
    centre, x = points(seed, pixels=5, n=1)
    c, target, p = centre.flatten().numpy(), (x - centre).flatten().numpy(), POWERS[norm]
    up, down = (1 - c, c) if clamp else (np.full(5, 9.0), np.full(5, 9.0))

    def distance(parts):
        offset = parts[:5] - parts[5:] - target
        return offset @ offset / 2, np.concatenate([offset, -offset])

    limit = {
        "type": "ineq",
        "fun": lambda parts: eps**p - (parts**p).sum(),
        "jac": lambda parts: -p * parts ** (p - 1),
    }
    bounds = [(0, float(bound)) for bound in (*up, *down)]
    best = minimize(distance, np.zeros(10), jac=True, bounds=bounds, constraints=[limit], method="SLSQP", tol=1e-14)
    found = (project(x, centre, ball(norm, eps, clamp)) - centre).flatten().numpy()
    ours, theirs = ((offset - target) @ (offset - target) / 2 for offset in (found, best.x[:5] - best.x[5:]))
    assert ours <= theirs + 1e-6, "scipy found a nearer point"
    np.testing.assert_allclose(found, best.x[:5] - best.x[5:], atol=2e-3)


@settings(max_examples=40)
@given(SEEDS, st.floats(0.05, 5))
def test_without_a_box_the_l1_projection_is_duchis(seed, eps):
    """Duchi et al. 2008, figure 1: sort, find the last coordinate that stays above 0, subtract its threshold."""
    centre, x = points(seed, far=2.0)
    found = (project(x, centre, ball("l1", eps, clamp=False)) - centre).flatten(1).numpy()
    for ours, offset in zip(found, (x - centre).flatten(1).numpy(), strict=True):
        size = np.sort(np.abs(offset))[::-1]
        excess = (size.cumsum() - eps) / np.arange(1, len(size) + 1)
        threshold = max(0, excess[(size > excess).nonzero()[0].max()])
        np.testing.assert_allclose(ours, np.sign(offset) * np.maximum(np.abs(offset) - threshold, 0), atol=1e-9)


@settings(max_examples=40)
@given(SEEDS, NORMS, st.floats(0.05, 5))
def test_with_the_box_it_solves_the_conditions_of_optimality(seed, norm, eps):
    """A multiplier λ, found by brentq, of which each coordinate is the minimum over its own interval."""
    centre, x = points(seed, n=1, far=2.0)
    c, offset, p = centre.flatten().numpy(), (x - centre).flatten().numpy(), POWERS[norm]
    room, size = np.where(offset > 0, 1 - c, c), np.abs(offset)

    def at(multiplier):
        if norm == "l1":
            return np.clip(size - multiplier, 0, room)
        root = (-1.5 * multiplier + np.sqrt((1.5 * multiplier) ** 2 + 4 * size)) / 2  # of y + 1.5 λ √y = a
        return np.minimum(root**2, room)

    def excess(multiplier):
        return (at(multiplier) ** p).sum() - eps**p

    expected = at(0.0 if excess(0.0) <= 0 else brentq(excess, 0, 1e4, xtol=1e-14))
    found = project(x, centre, ball(norm, eps)) - centre
    np.testing.assert_allclose(found.flatten().numpy(), np.sign(offset) * expected, atol=1e-6)


@pytest.mark.parametrize("gain", [1e-30, 1.0, 1e30])
def test_a_step_has_length_1_and_in_l1_5_no_other_rises_as_much(net, images, labels, gain):
    """Hölder: the most that a step of length 1 in L1.5 rises is the gradient's L3 norm."""
    images = 0.5 + 0 * images
    scaled = lambda logits: gain * joint_logit(labels)(logits)  # noqa: E731
    for norm in POWERS:
        how = Walk(steps=1, step=1e-3, norm=norm, clamp=False)
        step = 1000 * (walk(net, images, scaled, how) - images)
        torch.testing.assert_close(length(step, norm), torch.ones(6, dtype=torch.double), rtol=1e-9, atol=0)
    moved = images.clone().requires_grad_()
    joint_logit(labels)(net(moved)).sum().backward()
    torch.testing.assert_close((step * moved.grad).flatten(1).sum(1), moved.grad.flatten(1).norm(p=3, dim=1))


def test_the_smaller_the_norm_the_fewer_pixels_change(net, images, labels):
    """At radii that let the logit rise by the same amount, found by brentq, the squared change has fewer pixels."""

    def walked(norm, eps):
        return walk(net, images[:1], joint_logit(labels[:1]), Walk(20, eps / 8, eps=eps, norm=norm))

    def rise(norm, eps):
        return float(joint_logit(labels[:1])(net(walked(norm, eps))).detach()) - wanted

    wanted, shares = 0.0, []
    wanted = rise("l2", 0.5)
    for norm in ("l1", "l1.5", "l2"):
        change = walked(norm, brentq(lambda eps, norm=norm: rise(norm, eps), 0.1, 4, xtol=1e-2)) - images[:1]
        shares.append(float(change.abs().sum() ** 2 / change.square().sum() / change.numel()))
    assert shares[0] < shares[1] < shares[2]


def test_linear_logits_are_raised_as_far_as_a_linear_program_can():
    """In the L1 ball and the box; scipy's linear program spends the radius on the steepest pixels first."""
    rng = torch.Generator().manual_seed(0)
    weight, image = torch.randn(6, dtype=torch.double, generator=rng), torch.rand(6, dtype=torch.double, generator=rng)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 1, bias=False).double())
    model[1].weight.data = weight[None]
    x = walk(model, image.view(1, 1, 1, 6), lambda f: f[:, 0], Walk(200, 0.04, eps=0.9, norm="l1")).flatten()
    best = linprog(
        np.concatenate([-weight, weight]),
        A_ub=np.ones((1, 12)),
        b_ub=[0.9],
        bounds=[(0, float(room)) for room in (*(1 - image), *image)],
    )
    assert float(weight @ (x - image)) == pytest.approx(-best.fun, rel=1e-3)
