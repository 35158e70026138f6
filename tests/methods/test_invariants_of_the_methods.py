"""Properties of the methods that hold for any weights: reductions to one another, bounds, symmetries, order."""

from dataclasses import replace

import pytest
import torch
from small_stages import ATTACK, CHAINS, INNER, LINF, PSGLD, TRAINING, B, buffer, rng
from torch import nn
from torch.nn.functional import cross_entropy

from harness.core.energy import EnergyModel
from harness.core.shard import Shard
from harness.core.walk import confidence
from harness.methods import ebjdat, jempp, sadajem
from harness.methods.at import Robust
from harness.methods.ratio import InOut
from harness.methods.standard import Classify
from harness.methods.trades import Tradeoff, divergence_from

MOMENTUM = replace(ATTACK, momentum=0.9, keep="best")
ADVERSARY = ebjdat.Adversary(LINF, start=0.1, perceptual=False)
STAGES = {
    "standard": Classify(TRAINING),
    "trades": Tradeoff(ATTACK, TRAINING),
    "ratio": InOut(MOMENTUM, replace(MOMENTUM, eps=1.0), TRAINING),
    "jempp": jempp.Energy(CHAINS, TRAINING, sigma=0.1),
    "sadajem": sadajem.Energy(CHAINS, TRAINING),
    "ebjdat": ebjdat.Joint(CHAINS, TRAINING, ADVERSARY),
}


def loss_of(stage, net, batch):
    return stage.loss(net.train(), batch, buffer(), Shard(rng()))


def of(loss, net):
    """The loss and its gradients with respect to the parameters."""
    return loss.total, *torch.autograd.grad(loss.total, list(net.parameters()))


def assert_same(ours, theirs, factor=1.0, **tolerance):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, factor * other, **tolerance)


@pytest.mark.parametrize("name", STAGES)
def test_a_constant_added_to_all_logits_changes_no_loss(net, batch, name):
    before = loss_of(STAGES[name], net, batch).terms
    net.net[3].bias.data += 7.0
    after = loss_of(STAGES[name], net, batch).terms
    for term, value in before.items():
        torch.testing.assert_close(after[term], value, rtol=1e-9, atol=1e-12)


def test_trades_without_divergence_is_standard_training(net, batch):
    ours = loss_of(Tradeoff(ATTACK, TRAINING, beta=0.0), net, batch)
    assert_same(of(ours, net), of(loss_of(STAGES["standard"], net, batch), net), rtol=0, atol=0)


def test_ratio_without_outliers_is_half_of_adversarial_training(net, batch):
    ours = of(loss_of(replace(STAGES["ratio"], outliers=0.0), net, batch), net)
    assert_same(ours, of(loss_of(Robust(MOMENTUM, TRAINING), net, batch), net), 0.5, rtol=1e-12, atol=1e-15)


def test_ebjdat_without_its_two_terms_is_sadajem(net, batch):
    ours = of(loss_of(replace(STAGES["ebjdat"], gap=0.0, robust_ce=0.0), net, batch), net)
    assert_same(ours, of(loss_of(STAGES["sadajem"], net, batch), net), rtol=1e-12, atol=1e-13)


def test_ebjdats_attack_sees_the_statistics_of_this_steps_labelled_images(batch, monkeypatch):
    """The labelled images pass in training mode just before the attack, which runs in evaluation mode."""
    norm = nn.BatchNorm1d(12, momentum=1.0)  # the running mean is that of the last batch
    net = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(16, 12), norm, nn.Linear(12, 5)), [0.5], [0.25]).double()
    seen, images = [], ebjdat.Adversary.images

    def look(*arguments):
        seen.append(norm.running_mean.clone())
        return images(*arguments)

    monkeypatch.setattr(ebjdat.Adversary, "images", look)
    loss_of(STAGES["ebjdat"], net, batch)
    inside = net.net[:2]((batch.images["labelled"] - 0.5) / 0.25)
    torch.testing.assert_close(seen, [inside.mean(0)])


def test_the_confidence_is_zero_where_logits_are_constant_and_only_there():
    logits = torch.randn(50, 5, dtype=torch.double, generator=rng())
    assert confidence(torch.full((3, 5), 4.0).double()).abs().max() < 1e-12
    assert confidence(logits).min() > 1e-3


def test_the_divergence_from_itself_is_zero_and_flat():
    logits = torch.randn(6, 5, dtype=torch.double, generator=rng()).requires_grad_()
    value = divergence_from(logits.detach())(logits)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.abs().max() < 1e-12 and gradient.abs().max() < 1e-12


def test_the_divergence_pulls_at_clean_and_attacked_predictions(net, batch):
    stage = Tradeoff(ATTACK, TRAINING)
    x, attacked = batch.images["labelled"], stage.attacked(net, batch.images["labelled"], Shard(rng()))
    both = torch.autograd.grad(6 * divergence_from(net(x))(net(attacked)).mean(), list(net.parameters()))
    one = torch.autograd.grad(6 * divergence_from(net(x).detach())(net(attacked)).mean(), list(net.parameters()))
    ours = torch.autograd.grad(loss_of(stage, net, batch).terms["kl"], list(net.parameters()))
    assert_same(ours, both, rtol=1e-10, atol=1e-12)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(ours, one, strict=True))


@pytest.mark.parametrize("attack", [ATTACK, LINF])
def test_trades_attacks_within_the_ball_and_not_in_vain(net, batch, attack):
    x = batch.images["labelled"]
    stage = Tradeoff(attack, TRAINING, noise=0.2)  # the random start lies outside the ball
    attacked = stage.attacked(net, x, Shard(rng()))
    offset = (attacked - x).flatten(1).norm(p=2 if attack.norm == "l2" else torch.inf, dim=1)
    assert offset.max() <= attack.eps * (1 + 1e-9)
    assert attacked.min() >= 0 and attacked.max() <= 1
    still = Tradeoff(replace(attack, step=1e-12), TRAINING).attacked(net, x, Shard(rng()))
    divergence = divergence_from(net(x))
    assert divergence(net(attacked)).mean() > 10 * divergence(net(still)).mean()


def test_ratio_never_lowers_what_its_attacks_climb(net, batch):
    seen = []
    net.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach()))
    loss_of(STAGES["ratio"], net, batch)
    attacked, tempting = seen[-1].split(B)
    x, o, y = batch.images["labelled"], batch.images["outliers"], batch.labels["labelled"]
    for ours, start, eps in ((attacked, x, 0.5), (tempting, o, 1.0)):
        assert (ours - start).flatten(1).norm(dim=1).max() <= eps * (1 + 1e-9)
    assert (cross_entropy(net(attacked), y, reduction="none") >= cross_entropy(net(x), y, reduction="none")).all()
    assert (confidence(net(tempting)) >= confidence(net(o))).all()


@pytest.mark.parametrize("inner", INNER)
def test_ebjdat_moves_images_as_its_inner_loop_says_and_stays_in_the_ball(net, batch, inner):
    x, y = batch.images["labelled"], batch.labels["labelled"]
    adversary = replace(ADVERSARY, inner=inner)
    attacked = adversary.images(net, x, y, adversary.begin(x, Shard(rng())))
    assert (attacked - x).abs().max() <= LINF.eps * (1 + 1e-9)
    climb = adversary.objective(net(x), y)
    assert climb(net(attacked)).mean() > climb(net(x)).mean()
    harder = cross_entropy(net(attacked), y) > cross_entropy(net(x), y)
    if inner in ("ce", "joint_down", "released"):
        assert bool(harder) == (inner != "released"), "only the released direction must make images easier"


WALK = PSGLD.steps * ["walk"]
ORDER = {
    "standard": ["labelled"],
    "trades": ["labelled", "attacked"],
    "ratio": ["attacked"],
    "jempp": ["real", *WALK, "chains", "labelled"],
    "sadajem": ["real", *WALK, "chains", "labelled"],
    "ebjdat": ["real", *WALK, "chains", "labelled", "attacked"],
}
"""The images that update the normalisation statistics, in order; attacks run in evaluation mode."""


def in_any_order(images):
    return images.flatten(1)[images.flatten(1)[:, 0].argsort()]


@pytest.mark.parametrize("name", STAGES)
def test_images_pass_in_training_mode_in_the_order_of_the_paper(net, batch, name):
    changes = {"chains": replace(CHAINS, walk=replace(PSGLD, statistics="batch"))} if "walk" in ORDER[name] else {}
    stage, state, seen = replace(STAGES[name], **changes), buffer(), []
    stage = replace(stage, sigma=0.0) if name == "jempp" else stage
    net.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]) if module.training else None)
    loss = stage.loss(net.train(), batch, state, Shard(rng()))

    def called(x, other):
        known = {"real": batch.images["real"], "labelled": batch.images["labelled"], "chains": state["buffer"]}
        return next((name for name, images in known.items() if torch.equal(*map(in_any_order, (x, images)))), other)

    assert [called(x, other=expected) for x, expected in zip(seen, ORDER[name], strict=True)] == ORDER[name]
    seen.clear()
    if loss.recompute:
        loss.recompute()
        without_walk = [name for name in ORDER[name] if name != "walk"]
        assert [called(x, other=expected) for x, expected in zip(seen, without_walk, strict=True)] == without_walk


@pytest.mark.parametrize("name", STAGES)
def test_a_loss_leaves_no_gradient_on_the_parameters(net, batch, name):
    loss_of(STAGES[name], net, batch)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
