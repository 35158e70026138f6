"""The losses and walks of the baseline methods equal a derivation in NumPy."""

from dataclasses import replace

import by_hand
import numpy as np
import pytest
import torch
import yaml
from small_stages import ATTACK, CHAINS, INNER, LINF, PSGLD, TRAINING, B, buffer, check, rng

from harness.core.registry import configs
from harness.core.shard import Shard
from harness.core.walk import Walk, marginal_score, walk
from harness.methods import ebjdat, jempp, sadajem
from harness.methods.ratio import InOut
from harness.methods.standard import Classify
from harness.methods.trades import Tradeoff


def images(batch, *streams):
    return [batch.images[stream].numpy() for stream in streams]


def normal(generator):
    return torch.randn(B, 1, 4, 4, generator=generator, dtype=torch.double).numpy()


def uniform(generator):
    return torch.rand(B, 1, 4, 4, generator=generator, dtype=torch.double).numpy()


def gap(small, x, others):
    """mean s(x̂) − mean s(x)."""
    return by_hand.logsumexp(small.logits(others)).mean() - by_hand.logsumexp(small.logits(x)).mean()


def cross_entropy(small, x, y):
    return by_hand.cross_entropy(small.logits(x), y).sum() / B


def test_standard_training_is_cross_entropy(net, small, batch):
    x, y = batch.images["labelled"].numpy(), batch.labels["labelled"].numpy()
    loss = Classify(TRAINING).loss(net.train(), batch, {}, Shard(rng()))
    check(net, small, loss, [("ce", lambda: cross_entropy(small, x, y))])
    assert float(loss.monitors["accuracy"]) == pytest.approx((small.logits(x).argmax(1) == y).mean())


@pytest.mark.parametrize("attack", [ATTACK, LINF])
def test_trades_is_cross_entropy_plus_the_divergence_of_predictions_nearby(net, small, batch, attack):
    x, y = batch.images["labelled"].numpy(), batch.labels["labelled"].numpy()
    start, gradient = x + 0.001 * normal(rng()), by_hand.ascent_of_divergence(small, small.logits(x))
    pgd = by_hand.pgd if attack.norm == "l2" else by_hand.linf_pgd
    attacked = pgd(gradient, start, x, attack.steps, attack.step, attack.eps)

    ours = Tradeoff(attack, TRAINING).attacked(net, batch.images["labelled"], Shard(rng()))
    np.testing.assert_allclose(ours.numpy(), attacked, rtol=1e-10, atol=1e-12)
    loss = Tradeoff(attack, TRAINING).loss(net.train(), batch, {}, Shard(rng()))
    check(net, small, loss, [
        ("ce", lambda: cross_entropy(small, x, y)),
        ("kl", lambda: 6 * by_hand.divergence(small.logits(x), small.logits(attacked)).sum() / B),
    ])  # fmt: skip


@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_ratio_is_half_adversarial_cross_entropy_half_confidence_on_attacked_outliers(net, small, batch, weight):
    x, o, y = *images(batch, "labelled", "outliers"), batch.labels["labelled"].numpy()
    attack = replace(ATTACK, momentum=0.9, keep="best")
    stage = InOut(attack, replace(attack, steps=7, eps=1.0), TRAINING, outliers=weight)
    attacked = by_hand.momentum_attack(small, x, y, 5, 0.2, 0.5, 0.9)
    gradient, value = by_hand.ascent_of_confidence(small), lambda o: by_hand.confidence(small.logits(o))
    tempting = by_hand.momentum_pgd(gradient, value, o, 7, 0.2, 1.0, 0.9)
    loss = stage.loss(net.train(), batch, {}, Shard(rng()))
    check(net, small, loss, [
        ("ce", lambda: cross_entropy(small, attacked, y) / 2),
        ("outliers", lambda: weight * by_hand.confidence(small.logits(tempting)).sum() / B / 2),
    ])  # fmt: skip
    surest = by_hand.softmax(small.logits(tempting)).max(1).mean()
    assert float(loss.monitors["confidence_on_outliers"]) == pytest.approx(surest)


def test_proximal_sgld_clamps_gradients_and_clips_images(net, small, images):
    how = replace(PSGLD, steps=6, step=0.2)
    expected = by_hand.psgld(by_hand.ascent_of_marginal(small), images.numpy(), 6, 0.2, 1.5)
    np.testing.assert_allclose(walk(net, images, marginal_score, how).numpy(), expected, rtol=1e-10, atol=1e-12)
    clamped = np.abs(by_hand.ascent_of_marginal(small)(images.numpy())) > 1.5
    assert 0 < clamped.mean() < 1, "the limit must clamp some coordinates and not others"


def test_pyld_as_published_is_proximal_sgld_with_fewer_and_longer_steps(net, small, images):
    """M = 10 outer and N = 5 inner steps of 0.2, gradients clamped to 1, on [−1, 1]: the walk of jempp.yaml."""
    fields = yaml.safe_load((configs("method") / "jempp.yaml").read_text())["energy"]["chains"]["walk"]
    expected = by_hand.pyld(small, images.numpy(), 10, 5, 0.2, 1)
    np.testing.assert_allclose(walk(net, images, marginal_score, Walk(**fields)).numpy(), expected, atol=1e-10)
    assert ((expected > 0) & (expected < 1)).any(), "some pixels must lie strictly inside their range"
    assert (np.abs(by_hand.ascent_of_marginal(small)(images.numpy())) > 2).any(), "the limit must clamp something"


def test_jempp_is_jem_with_proximal_chains(net, small, batch):
    stage = jempp.Energy(CHAINS, TRAINING, sigma=0.1)
    loss = stage.loss(net.train(), batch, buffer(), Shard(rng()))
    generator = rng()
    x, labelled = (image + 0.1 * normal(generator) for image in images(batch, "real", "labelled"))
    chains = by_hand.psgld(by_hand.ascent_of_marginal(small), buffer()["buffer"].numpy(), 4, 0.05, 1.5)
    check(net, small, loss, [
        ("px", lambda: gap(small, x, chains)),
        ("ce", lambda: cross_entropy(small, labelled, batch.labels["labelled"].numpy())),
    ])  # fmt: skip


def sadajem_terms(small, batch, chains):
    x, labelled = images(batch, "real", "labelled")
    return [
        ("px", lambda: gap(small, x, chains)),
        ("ce", lambda: cross_entropy(small, labelled, batch.labels["labelled"].numpy())),
    ]


def test_sadajem_is_jempp_without_noise(net, small, batch):
    loss = sadajem.Energy(CHAINS, TRAINING).loss(net.train(), batch, buffer(), Shard(rng()))
    chains = by_hand.psgld(by_hand.ascent_of_marginal(small), buffer()["buffer"].numpy(), 4, 0.05, 1.5)
    check(net, small, loss, sadajem_terms(small, batch, chains))


def elsewhere(net):
    """The NumPy net at new weights, after moving the weights of `net` in place."""
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng(4), dtype=torch.double)
    return by_hand.Net(net)


def test_sadajem_again_is_its_loss_at_other_weights_on_the_chains_of_the_first(net, small, batch):
    state = buffer()
    loss = sadajem.Energy(CHAINS, TRAINING).loss(net.train(), batch, state, Shard(rng()))
    chains = by_hand.psgld(by_hand.ascent_of_marginal(small), buffer()["buffer"].numpy(), 4, 0.05, 1.5)
    walked = state["buffer"].clone()
    there = elsewhere(net)
    check(net, there, replace(loss, terms=loss.recompute()), sadajem_terms(there, batch, chains))
    assert torch.equal(state["buffer"], walked), "the walk must not run again"


def adversarial(small, x, y, inner, perceptual, start):
    """The adversarial images x̃, derived by hand."""
    clean = small.logits(x)
    climb = {
        "ce": by_hand.ascent_of_cross_entropy(small, y),
        "energy_up": lambda x: -by_hand.ascent_of_marginal(small)(x),
        "joint_down": lambda x: -by_hand.ascent_of_joint(small, y)(x),
        "released": by_hand.ascent_of_joint(small, y),
    }[inner]
    away = by_hand.ascent_of_distance(small, clean)
    gradient = (lambda x: climb(x) + away(x)) if perceptual else climb
    return by_hand.linf_pgd(gradient, start, x, LINF.steps, LINF.step, LINF.eps)


def ebjdat_terms(small, batch, x, chains, attacked):
    (labelled,), y = images(batch, "labelled"), batch.labels["labelled"].numpy()
    return [
        ("px", lambda: gap(small, x, chains)),
        ("ce", lambda: cross_entropy(small, labelled, y)),
        ("gap", lambda: 0.1 * gap(small, x, attacked)),
        ("robust_ce", lambda: cross_entropy(small, attacked, y)),
    ]


@pytest.mark.parametrize("perceptual", [False, True])
@pytest.mark.parametrize("inner", INNER)
def test_ebjdat_is_sadajem_plus_an_energy_gap_and_cross_entropy_on_adversarial_images(
    net, small, batch, inner, perceptual
):
    stage = ebjdat.Joint(CHAINS, TRAINING, ebjdat.Adversary(LINF, 0.1, inner, perceptual), sigma=0.1)
    loss = stage.loss(net.train(), batch, buffer(), Shard(rng()))
    generator, (real, labelled) = rng(), images(batch, "real", "labelled")
    x = real + 0.1 * normal(generator)
    start = np.clip(labelled + 0.1 * (2 * uniform(generator) - 1), 0, 1)
    attacked = adversarial(small, labelled, batch.labels["labelled"].numpy(), inner, perceptual, start)
    chains = by_hand.psgld(by_hand.ascent_of_marginal(small), buffer()["buffer"].numpy(), 4, 0.05, 1.5)
    check(net, small, loss, ebjdat_terms(small, batch, x, chains, attacked))
    there = elsewhere(net)
    check(net, there, replace(loss, terms=loss.recompute()), ebjdat_terms(there, batch, x, chains, attacked))


def test_the_perceptual_distance_and_its_gradient(net, small, images):
    clean = net(images).detach()
    x = (images + 0.1).requires_grad_()
    value = ebjdat.distance_from(clean)(net(x))
    (gradient,) = torch.autograd.grad(value.sum(), x)
    there = x.detach().numpy()
    np.testing.assert_allclose(value.detach().numpy(), by_hand.distance(clean.numpy(), small.logits(there)), rtol=1e-10)
    expected = by_hand.ascent_of_distance(small, clean.numpy())(there)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-10, atol=1e-12)
