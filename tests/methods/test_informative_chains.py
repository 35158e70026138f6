"""JEM++'s chains: the Gaussians that they start from, the replay buffer, and the bounds of their steps."""

from dataclasses import replace

import pytest
import torch
from chains import STEP, flat_net, marked, rng, tilted_net
from scipy.stats import binomtest, kstest

from harness.core.dataset import Dataset, TensorView
from harness.core.shard import Shard
from harness.core.walk import Walk, marginal_score, walk
from harness.methods.jempp import JEMPP, Energy, InformativeChains, class_gaussians, gaussian

FAR = {"means": torch.full((5, 4), 0.5), "roots": 0.01 * torch.eye(4).repeat(5, 1, 1)}
"""Gaussians whose draws cannot be confused with an image of a marked buffer."""


def test_the_gaussians_are_those_of_each_class_with_their_whole_covariance(digits):
    means, roots = class_gaussians(digits).values()
    images, labels = digits.tensors("train")
    for c in (0, 3, 9):
        x = images[labels == c].flatten(1).double()
        centred = x - x.mean(0)
        covariance = centred.T @ centred / len(x) + 1e-4 / 4 * torch.eye(64)
        torch.testing.assert_close(means[c].double(), x.mean(0), rtol=0, atol=1e-6)
        torch.testing.assert_close((roots[c] @ roots[c].T).double(), covariance, rtol=0, atol=1e-6)


def test_draws_have_the_moments_of_their_class(digits):
    gaussians, classes = class_gaussians(digits), torch.tensor([2, 7]).repeat(20_000)
    x = gaussian(gaussians, classes, rng())
    for c in (2, 7):
        own, root = x[classes == c], gaussians["roots"][c]
        whitened = torch.linalg.solve_triangular(root, (own - gaussians["means"][c]).T, upper=False).T
        assert kstest(whitened.flatten().numpy(), "norm").pvalue > 0.01
        torch.testing.assert_close(whitened.T.cov(), torch.eye(64), rtol=0, atol=0.05)
        torch.testing.assert_close(whitened.mean(0), torch.zeros(64), rtol=0, atol=0.04)


def test_the_buffer_is_at_first_in_equal_blocks_of_the_classes_and_of_images(digits):
    buffer = InformativeChains(STEP, buffer=500).state(digits, rng())["buffer"]
    assert buffer.shape == (500, 1, 8, 8)
    assert buffer.min() == 0 and buffer.max() == 1, "draws outside the pixel range must be clamped"
    means = class_gaussians(digits)["means"]
    nearest = torch.cdist(buffer.view(10, 50, 64).mean(1), means).argmin(1)
    assert torch.equal(nearest, torch.arange(10))


def draw(model, state, n, seed=0, **changes):
    return InformativeChains(STEP, buffer=len(state["buffer"]), **changes).draw(model, state, n, Shard(rng(seed)))


@pytest.mark.parametrize("seed", range(5))
def test_chains_are_written_back_where_they_were_drawn_and_nowhere_else(seed):
    state = {"buffer": marked(9), **FAR}
    x = draw(tilted_net(), state, 5, seed, restart=0.0)
    places = (x[:, 0, 1, 1] - 10).long()
    assert len(set(places.tolist())) == 5
    expected = marked(9)
    expected[places, 0, 0, 0] += 0.5
    torch.testing.assert_close(state["buffer"], expected)
    torch.testing.assert_close(x, expected[places])


def test_the_share_of_restarts_is_the_chance_of_one():
    x = draw(flat_net(), {"buffer": marked(4000), **FAR}, 4000, restart=0.05)
    fresh = x.flatten(1).amax(1) < 1
    assert binomtest(int(fresh.sum()), 4000, 0.05).pvalue > 0.01
    assert kstest((x[fresh].flatten().numpy() - 0.5) / 0.01, "norm").pvalue > 0.01


def test_restarted_chains_come_from_all_classes_alike_and_are_cut_to_the_pixel_range():
    means = torch.tensor([-1.0, 0.2, 0.4, 0.6, 2.0])[:, None].repeat(1, 4)
    x = draw(flat_net(), {"buffer": marked(5000), "means": means, "roots": FAR["roots"]}, 5000, restart=1.0)
    nearest = (x.flatten(1).mean(1)[:, None] - means.clamp(0, 1)[:, 0]).abs().argmin(1)
    assert all(binomtest(int((nearest == c).sum()), 5000, 0.2).pvalue > 0.001 for c in range(5))
    assert x.min() == 0 and x.max() == 1


def test_a_proximal_step_is_bounded_in_each_pixel(net, images):
    how = Walk(steps=1, step=0.05, direction="raw", limit=1.5)
    moved = (walk(net, images, marginal_score, how) - images).abs()
    assert moved.max() <= 0.075 + 1e-12
    assert (moved > 0.0749).any(), "the bound must be reached"
    assert torch.equal(walk(net, images, marginal_score, how, steps=0), images)


def test_sampling_a_chain_leaves_gradients_and_running_statistics_as_they_should_be(digits_net):
    """With statistics="batch", training updates the running statistics; with "running", it does not."""
    for statistics, moves in (("batch", True), ("running", False)):
        model = digits_net().train()
        model.net[0].weight.grad = torch.ones_like(model.net[0].weight)
        before = model.net[1].running_mean.clone()
        state = {"buffer": torch.rand(20, 1, 8, 8, generator=rng()), "means": torch.zeros(10, 64)}
        chains = InformativeChains(replace(STEP, limit=2.0, statistics=statistics), buffer=20, restart=0.0)
        chains.draw(model, state | {"roots": torch.zeros(10, 64, 64)}, 8, Shard(rng()))
        assert torch.equal(model.net[0].weight.grad, torch.ones_like(model.net[0].weight))
        assert torch.equal(before, model.net[1].running_mean) != moves


class Large(Dataset):
    """A dataset whose images are too large for a covariance matrix."""

    classes, shape = ("a", "b"), (3, 40, 40)

    def view(self, split, branch):
        return TensorView(torch.zeros(0, *self.shape), torch.zeros(0))

    def labels(self, split):
        return torch.zeros(0)


def test_images_too_large_and_buffers_that_classes_do_not_divide_are_declined(digits, training):
    def reason(data, buffer):
        return JEMPP(Energy(InformativeChains(STEP, buffer), training(1)), STEP).skip(data)

    assert reason(digits, 20) is None
    assert "25" in reason(digits, 25)
    assert "4800" in reason(Large(), 20)


def test_a_buffer_smaller_than_a_batch_of_real_images_is_refused(training):
    Energy(InformativeChains(STEP, 4), training(1, real_batch=4))
    with pytest.raises(ValueError, match="must hold"):
        Energy(InformativeChains(STEP, 4), training(1))
