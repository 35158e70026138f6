"""Each stage's loss and gradient equal a NumPy derivation: explicit walks, parameter gradients by complex steps."""

import by_hand
import numpy as np
import pytest
import torch
from small_stages import ATTACK, TRAINING, B, check, rng

from harness.core.method import Batch
from harness.core.shard import Shard
from harness.core.walk import Walk
from harness.methods.at import Robust
from harness.methods.atjem import Contrast, Curriculum, Joint, binary_cross_entropy, gradient_penalty
from harness.methods.generative import Generate
from harness.methods.jem import Chains, Energy

CONTRAST = Contrast(Walk(steps=4, step=0.3), curriculum=None)


def arrays(batch):
    labels = [batch.labels[stream].numpy() for stream in ("labelled", "real")]
    return [batch.images[stream].numpy() for stream in ("labelled", "real", "outliers")] + labels


def state_of(stage):
    return stage.contrast.state(B)


def bce(of_real, of_contrastive):
    return (by_hand.softplus(-of_real).sum() + by_hand.softplus(of_contrastive).sum()) / (2 * len(of_real))


@pytest.mark.parametrize("attack", [ATTACK, Walk(steps=5, step=0.2, eps=0.5, momentum=0.9, keep="best")])
def test_at_is_cross_entropy_on_adversarial_images_alone(net, small, batch, attack):
    loss = Robust(attack, TRAINING).loss(net.train(), batch, {}, Shard(rng()))
    x, _, _, y, _ = arrays(batch)
    if attack.momentum:
        attacked = by_hand.momentum_attack(small, x, y, 5, 0.2, 0.5, 0.9)
    else:
        attacked = by_hand.attack(small, x, y, 5, 0.2, 0.5)
    check(net, small, loss, [("ce", lambda: by_hand.cross_entropy(small.logits(attacked), y).sum() / B)])
    right = (small.logits(attacked).argmax(1) == y).mean()
    assert float(loss.monitors["robust_accuracy"]) == pytest.approx(right)


@pytest.mark.parametrize("r1", [0.0, 0.7])
def test_atjem_is_bce_on_marginal_scores_plus_adversarial_cross_entropy(net, small, batch, r1):
    stage = Joint(CONTRAST, ATTACK, TRAINING, r1=r1)
    loss = stage.loss(net.train(), batch, state_of(stage), Shard(rng()))
    x, real, outliers, y, y_real = arrays(batch)
    contrastive = by_hand.contrastive(small, outliers, y_real, 4, 0.3)  # paired with the labels of the real images
    attacked = by_hand.attack(small, x, y, 5, 0.2, 0.5)

    def s(images):
        return by_hand.logsumexp(small.logits(images))

    def penalty():
        return r1 / 2 * (small.gradient(real, by_hand.softmax(small.logits(real))) ** 2).sum() / B

    check(net, small, loss, [
        ("bce", lambda: bce(s(real), s(contrastive))),
        ("ce", lambda: by_hand.cross_entropy(small.logits(attacked), y).sum() / B),
        *([("r1", penalty)] if r1 else []),
    ])  # fmt: skip
    assert float(loss.monitors["s_real"]) == pytest.approx(s(real).mean())
    assert float(loss.monitors["s_contrastive"]) == pytest.approx(s(contrastive).mean())


def test_atjem_by_maximum_likelihood_is_the_difference_of_mean_scores_from_the_same_images(net, small, batch):
    stage = Joint(CONTRAST, ATTACK, TRAINING, bce=0.5, ce=2.0, energy="mle")
    loss = stage.loss(net.train(), batch, state_of(stage), Shard(rng()))
    x, real, outliers, y, y_real = arrays(batch)
    contrastive = by_hand.contrastive(small, outliers, y_real, 4, 0.3)
    attacked = by_hand.attack(small, x, y, 5, 0.2, 0.5)

    def s(images):
        return by_hand.logsumexp(small.logits(images))

    check(net, small, loss, [
        ("mle", lambda: 0.5 * (s(contrastive).mean() - s(real).mean())),
        ("ce", lambda: 2 * by_hand.cross_entropy(small.logits(attacked), y).sum() / B),
    ])  # fmt: skip


def test_the_curriculum_watches_joint_logits_of_real_and_contrastive_images(net, small, batch):
    curriculum = Curriculum(auc=1.0)
    for stage in (
        Joint(Contrast(Walk(steps=9, step=0.3), curriculum), ATTACK, TRAINING),
        Generate(Contrast(Walk(steps=9, step=0.3), curriculum), TRAINING),
    ):
        state = state_of(stage)
        state["T"].fill_(2)
        loss = stage.loss(net.train(), batch, state, Shard(rng()))
        _, real, outliers, _, y = arrays(batch)
        contrastive = by_hand.contrastive(small, outliers, y, 2, 0.3)
        positive, negative = by_hand.joint(small.logits(real), y), by_hand.joint(small.logits(contrastive), y)
        auc = np.mean([[p > n for n in negative] for p in positive])
        figures = stage.update_state(state, loss.per_image)
        assert figures["auc"] == pytest.approx(auc)
        assert float(state["window"][0]) == pytest.approx(auc)
        assert (figures["T"], int(state["filled"])) == (2, 1)


@pytest.mark.parametrize("r1", [0.0, 0.7])
def test_generative_is_bce_on_joint_logits_plus_the_gradient_penalty(net, small, batch, r1):
    stage = Generate(CONTRAST, TRAINING, r1=r1)
    loss = stage.loss(net.train(), batch, state_of(stage), Shard(rng()))
    _, real, outliers, _, y = arrays(batch)
    contrastive = by_hand.contrastive(small, outliers, y, 4, 0.3)

    def penalty():
        return r1 / 2 * (small.gradient(real, by_hand.one_hot(y, 5)) ** 2).sum() / B

    def judged():
        return bce(by_hand.joint(small.logits(real), y), by_hand.joint(small.logits(contrastive), y))

    check(net, small, loss, [("bce", judged), *([("r1", penalty)] if r1 else [])])


def test_the_gradient_penalty_is_half_the_mean_squared_norm(images):
    score = (images.requires_grad_() ** 2).flatten(1).sum(1)
    expected = 0.5 * (2 * images.detach()).flatten(1).norm(dim=1).square().mean()
    assert gradient_penalty(score, images).item() == pytest.approx(expected.item(), rel=1e-12)


def test_jem_is_the_difference_of_mean_scores_plus_cross_entropy(net, small, batch):
    # Draw the whole buffer without noise, so that the mean over chains does not depend on their order.
    walk = Walk(steps=3, step=0.05, direction="raw", clamp=False)
    buffer = torch.rand(B, 1, 4, 4, dtype=torch.double, generator=rng(9))
    stage = Energy(Chains(walk, buffer=B, restart=0), TRAINING)
    loss = stage.loss(net.train(), batch, {"buffer": buffer.clone()}, Shard(rng()))
    x, real, _, y, _ = arrays(batch)
    chains = by_hand.sgld(by_hand.ascent_of_marginal(small), buffer.numpy(), 0.05, 0, [0, 0, 0])

    def s(images):
        return by_hand.logsumexp(small.logits(images))

    check(net, small, loss, [
        ("px", lambda: -(s(real).mean() - s(chains).mean())),
        ("ce", lambda: by_hand.cross_entropy(small.logits(x), y).mean()),
    ])  # fmt: skip


def test_jem_trains_on_images_with_noise_of_sigma(net, batch):
    seen = []
    net.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach().clone()))
    many = {stream: x.repeat(400, 1, 1, 1) for stream, x in batch.images.items()}
    labels = {stream: y.repeat(400) for stream, y in batch.labels.items()}
    chains = Chains(Walk(steps=1, step=0.05, direction="raw", clamp=False), buffer=B * 400)
    stage = Energy(chains, TRAINING, sigma=0.2)
    state = {"buffer": torch.rand(B * 400, 1, 4, 4, dtype=torch.double, generator=rng(9)), "classes": torch.arange(5)}
    stage.loss(net, Batch(many, labels), state, Shard(rng()))
    for stream in ("real", "labelled"):
        noise = min((x - many[stream] for x in seen), key=lambda d: d.abs().mean()) / 0.2
        assert abs(noise.mean()) < 0.03
        assert abs(noise.std() - 1) < 0.03


def test_the_bce_is_the_mean_over_both_halves():
    real, contrastive = torch.randn(2, 7, dtype=torch.double, generator=rng()).requires_grad_()
    loss = binary_cross_entropy(real, contrastive)
    expected = 0.5 * (
        by_hand.softplus(-real.detach().numpy()).mean() + by_hand.softplus(contrastive.detach().numpy()).mean()
    )
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    of_real, of_contrastive = torch.autograd.grad(loss, [real, contrastive])
    torch.testing.assert_close(of_real, -(1 - real.sigmoid()) / 14, rtol=1e-10, atol=0)
    torch.testing.assert_close(of_contrastive, contrastive.sigmoid() / 14, rtol=1e-10, atol=0)


def gradients(net, terms):
    return torch.autograd.grad(sum(terms), list(net.parameters()), retain_graph=True)


def one_loss(net, batch, name, **weights):
    if name == "joint":
        stage = Joint(CONTRAST, ATTACK, TRAINING, **weights)
        return stage.loss(net.train(), batch, state_of(stage), Shard(rng()))
    stage = Energy(Chains(Walk(steps=2, step=0.05, direction="raw", clamp=False), buffer=B), TRAINING, **weights)
    state = {"buffer": torch.rand(B, 1, 4, 4, dtype=torch.double, generator=rng(9)), "classes": torch.arange(5)}
    return stage.loss(net.train(), batch, state, Shard(rng()))


@pytest.mark.parametrize(("stage", "off", "left"), [
    ("joint", "bce", "ce"), ("joint", "ce", "bce"), ("energy", "px", "ce"), ("energy", "ce", "px"),
])  # fmt: skip
def test_a_weight_of_zero_turns_its_term_off(net, batch, stage, off, left):
    whole = one_loss(net, batch, stage)
    half = one_loss(net, batch, stage, **{off: 0.0})
    expected, ours = gradients(net, [whole.terms[left]]), gradients(net, half.terms.values())
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)
    assert any(g.abs().max() > 1e-6 for g in gradients(net, [whole.terms[off]])), "the term must matter when it is on"


@pytest.mark.parametrize(("stage", "term"), [("joint", "bce"), ("joint", "ce"), ("energy", "px"), ("energy", "ce")])
def test_a_weight_multiplies_its_term(net, batch, stage, term):
    once, thrice = one_loss(net, batch, stage), one_loss(net, batch, stage, **{term: 3.0})
    assert thrice.terms[term].item() == pytest.approx(3 * once.terms[term].item(), rel=1e-10)


def test_random_labels_are_drawn_from_the_generator_of_the_step(net, small, batch):
    contrast = Contrast(Walk(steps=4, step=0.3), curriculum=None, labels="random")
    first, y = contrast.images(net, batch, contrast.state(B), Shard(rng(1)))
    again, y_again = contrast.images(net, batch, contrast.state(B), Shard(rng(1)))
    _, y_other = contrast.images(net, batch, contrast.state(B), Shard(rng(2)))
    assert torch.equal(y, y_again)
    assert torch.equal(first, again)
    assert not torch.equal(y, y_other)
    many = torch.cat([contrast.images(net, batch, contrast.state(B), Shard(rng(i)))[1] for i in range(30)])
    assert set(many.tolist()) == {0, 1, 2, 3, 4}
    expected = by_hand.contrastive(small, batch.images["outliers"].numpy(), y.numpy(), 4, 0.3)
    np.testing.assert_allclose(first.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_paired_labels_are_those_of_the_real_images_index_by_index(net, batch):
    _, y = CONTRAST.images(net, batch, CONTRAST.state(B), Shard(rng()))
    assert torch.equal(y, batch.labels["real"])


def test_a_loss_leaves_no_gradient_on_the_parameters(net, batch):
    for stage in ("joint", "energy"):
        one_loss(net, batch, stage)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
