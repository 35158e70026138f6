"""The walks equal the formulas of the notes, re-derived in NumPy with hand-written gradients."""

import by_hand
import numpy as np
import torch

from harness.core.walk import Walk, cross_entropy, joint_logit, marginal_score, walk


def close(ours, theirs):
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-10, atol=1e-12)


def test_the_contrastive_walk_is_normalised_ascent_on_the_joint_logit(net, images, labels):
    ours = walk(net, images, joint_logit(labels), Walk(steps=7, step=0.3))
    close(ours, by_hand.contrastive(by_hand.Net(net), images.numpy(), labels.numpy(), 7, 0.3))
    assert ((ours == 0) | (ours == 1)).any(), "some pixels must reach the clamp"


def test_the_l2_attack_is_projected_normalised_ascent_on_the_cross_entropy(net, images, labels):
    ours = walk(net, images, cross_entropy(labels), Walk(steps=10, step=0.1, eps=0.5))
    close(ours, by_hand.attack(by_hand.Net(net), images.numpy(), labels.numpy(), 10, 0.1, 0.5))


def test_the_linf_attack_is_projected_sign_ascent_on_the_cross_entropy(net, images, labels):
    ours = walk(net, images, cross_entropy(labels), Walk(steps=10, step=0.04, eps=0.1, norm="linf"))
    close(ours, by_hand.linf_attack(by_hand.Net(net), images.numpy(), labels.numpy(), 10, 0.04, 0.1))


def test_the_momentum_attack_keeps_the_best_of_all_iterates(net, images, labels):
    # A step longer than the radius overshoots, so the best iterate is not the last one for every image.
    for step in (0.1, 1.5):
        how = Walk(steps=10, step=step, eps=0.5, momentum=0.9, keep="best")
        ours = walk(net, images, cross_entropy(labels), how)
        close(ours, by_hand.momentum_attack(by_hand.Net(net), images.numpy(), labels.numpy(), 10, step, 0.5, 0.9))


def test_sgld_adds_noise_to_the_raw_gradient_of_the_marginal_score(net, images):
    draws = torch.randn(20, *images.shape, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    remaining = iter(draws)
    how = Walk(steps=20, step=0.25, direction="raw", noise=0.05, clamp=False)
    ours = walk(net, images, marginal_score, how, normal=lambda x: next(remaining))
    small = by_hand.Net(net)
    close(ours, by_hand.sgld(by_hand.ascent_of_marginal(small), images.numpy(), 0.25, 0.05, draws.numpy()))
    assert ours.min() < 0 or ours.max() > 1, "pixels must leave [0, 1], so that a clamp would be noticed"
