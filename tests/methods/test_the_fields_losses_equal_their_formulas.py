"""The losses of WEAT, MART, Robust-JEM, energy fine-tuning, HDGE and AT-EBM equal a derivation in NumPy."""

from dataclasses import replace
from types import SimpleNamespace

import by_hand
import numpy as np
import pytest
import torch
from small_stages import ATTACK, LINF, TRAINING, B, check, rng

from harness.core.shard import Shard
from harness.core.walk import Walk
from harness.methods.atebm import Binary
from harness.methods.atjem import Contrast as Walks
from harness.methods.energyood import Margins
from harness.methods.hdge import Contrast
from harness.methods.jem import Chains
from harness.methods.mart import Aware
from harness.methods.robustjem import Attacked
from harness.methods.weat import Weighted

SGLD = Walk(steps=2, step=0.3, direction="raw", noise=0.01, clamp=False)


def normal(generator):
    return torch.randn(B, 1, 4, 4, generator=generator, dtype=torch.double).numpy()


@pytest.mark.parametrize("classify", ["clean", "attacked"])
def test_weat_weighs_trades_by_the_energy_of_the_clean_image(net, small, batch, classify):
    x, y = batch.images["labelled"].numpy(), batch.labels["labelled"].numpy()
    start, gradient = x + 0.001 * normal(rng()), by_hand.ascent_of_divergence(small, small.logits(x))
    attacked = by_hand.pgd(gradient, start, x, ATTACK.steps, ATTACK.step, ATTACK.eps)
    w = 1 / np.log(1 + np.exp(np.abs(by_hand.logsumexp(small.logits(x)))))  # no gradient: fixed here
    assert w.std() > 0.01, "weights must differ, or the test sees none"
    u = x if classify == "clean" else attacked

    loss = Weighted(ATTACK, TRAINING, classify=classify).loss(net.train(), batch, {}, Shard(rng()))
    check(net, small, loss, [
        ("ce", lambda: (w * by_hand.cross_entropy(small.logits(u), y)).sum() / B),
        ("kl", lambda: 6 * (w * by_hand.divergence(small.logits(x), small.logits(attacked))).sum() / B),
    ])  # fmt: skip


@pytest.mark.parametrize("attack", [ATTACK, LINF])
def test_mart_boosts_cross_entropy_and_weighs_the_divergence_by_what_is_missing(net, small, batch, attack):
    x, y = batch.images["labelled"].numpy(), batch.labels["labelled"].numpy()
    pgd = by_hand.pgd if attack.norm == "l2" else by_hand.linf_pgd
    start, gradient = x + 0.001 * normal(rng()), by_hand.ascent_of_cross_entropy(small, y)
    attacked = pgd(gradient, start, x, attack.steps, attack.step, attack.eps)
    rows = np.arange(B)

    def boosted():
        p = by_hand.softmax(small.logits(attacked))
        wrong = np.array([max(p[i, k] for k in range(p.shape[1]) if k != y[i]) for i in rows])
        return (-np.log(p[rows, y]) - np.log(1 - wrong)).sum() / B

    def agreement():
        missing = 1 - by_hand.softmax(small.logits(x))[rows, y]
        return 5 * (by_hand.divergence(small.logits(x), small.logits(attacked)) * missing).sum() / B

    loss = Aware(attack, TRAINING).loss(net.train(), batch, {}, Shard(rng()))
    check(net, small, loss, [("bce", boosted), ("kl", agreement)])


@pytest.mark.parametrize("adversarial", ["classifier", "joint"])
def test_robust_jem_attacks_what_it_says(net, small, batch, adversarial):
    stage = Attacked(Chains(SGLD, buffer=B, restart=0), TRAINING, attack=ATTACK, adversarial=adversarial)
    attacked = {}
    for stream in ("labelled", "real"):
        images, y = batch.images[stream].numpy(), batch.labels[stream].numpy()
        gradient = by_hand.ascent_of_cross_entropy(small, y)
        attacked[stream] = by_hand.pgd(gradient, images, images, ATTACK.steps, ATTACK.step, ATTACK.eps)
    u = attacked["real"] if adversarial == "joint" else batch.images["real"].numpy()
    state = {"buffer": torch.rand(B, 1, 4, 4, dtype=torch.double, generator=rng(9))}
    loss = stage.loss(net.train(), batch, state, Shard(rng()))
    chains = state["buffer"].numpy()  # walked on and written back

    y = batch.labels["labelled"].numpy()
    marginal = lambda images: by_hand.logsumexp(small.logits(images)).mean()  # noqa: E731
    check(net, small, loss, [
        ("px", lambda: marginal(chains) - marginal(u)),
        ("ce", lambda: by_hand.cross_entropy(small.logits(attacked["labelled"]), y).sum() / B),
    ])  # fmt: skip


def test_energy_fine_tuning_keeps_energies_beyond_their_margins(net, small, batch):
    x, o = (batch.images[stream].numpy() for stream in ("labelled", "outliers"))
    y = batch.labels["labelled"].numpy()
    energies = -by_hand.logsumexp(small.logits(np.concatenate([x, o])))
    inside, outside = float(np.sort(energies[:B])[2]), float(np.sort(energies[B:])[3])  # some beyond, some not
    outside = max(outside, inside + 0.01)
    loss = Margins(TRAINING, inside=inside, outside=outside, margins=0.3).loss(net.train(), batch, {}, Shard(rng()))
    energy = lambda images: -by_hand.logsumexp(small.logits(images))  # noqa: E731
    check(net, small, loss, [
        ("ce", lambda: by_hand.cross_entropy(small.logits(x), y).sum() / B),
        ("inside", lambda: 0.3 * (np.maximum(0, energy(x) - inside) ** 2).mean()),
        ("outside", lambda: 0.3 * (np.maximum(0, outside - energy(o)) ** 2).mean()),
    ])  # fmt: skip


def test_margins_that_cross_are_refused():
    with pytest.raises(ValueError, match="below outside"):
        Margins(TRAINING, inside=-5, outside=-23)


def test_hdge_contrasts_an_image_with_those_of_the_queue_at_its_class(net, small, batch):
    stage = Contrast(TRAINING, queue=2 * B + 1, temperature=0.5, contrast=0.7)
    x, y = batch.images["labelled"].numpy(), batch.labels["labelled"].numpy()
    before = torch.randn(2 * B + 1, 5, generator=rng(3), dtype=torch.double)
    state = {"queue": before.clone(), "filled": torch.tensor(B)}

    def contrast():
        own = small.logits(x)[np.arange(B), y] / 0.5
        others = before.numpy()[:B][:, y] / 0.5
        return 0.7 * (np.log(np.exp(own) + np.exp(others).sum(0)) - own).mean()

    loss = stage.loss(net.train(), batch, state, Shard(rng()))
    check(net, small, loss, [
        ("ce", lambda: by_hand.cross_entropy(small.logits(x), y).sum() / B),
        ("contrast", contrast),
    ])  # fmt: skip


def test_the_queue_of_hdge_keeps_the_last_logits(net, batch):
    stage = Contrast(TRAINING, queue=2 * B + 1)
    state = stage.state(SimpleNamespace(classes="abcde"), rng())
    for number in (1, 2, 3):
        stage.update_state(state, {"logits": torch.full((B, 5), float(number), dtype=torch.double)})
    # 18 images went through 13 places: of the first batch one is left.
    assert sorted(state["queue"][:, 0].tolist()) == [1] + [2] * B + [3] * B
    assert int(state["filled"]) == 2 * B + 1
    with pytest.raises(ValueError, match="queue must be between a batch"):
        replace(stage, queue=B - 1)


@pytest.mark.parametrize("attack", [None, replace(ATTACK, eps=0.3)])
def test_at_ebm_separates_walked_outliers_from_real_images_by_the_score(net, small, batch, attack):
    climb = by_hand.ascent_of_marginal(small)
    real, outliers = (batch.images[stream].numpy() for stream in ("real", "outliers"))
    far = by_hand.pgd(climb, outliers, outliers, 3, 0.2, np.inf)
    near = real if attack is None else by_hand.pgd(lambda x: -climb(x), real, real, attack.steps, attack.step, 0.3)
    contrast = Walks(Walk(steps=4, step=0.2), curriculum=None)
    stage = Binary(contrast, attack, TRAINING)
    loss = stage.loss(net.train(), batch, {"T": torch.tensor(3)}, Shard(rng()))
    score = lambda x: by_hand.logsumexp(small.logits(x))  # noqa: E731
    check(net, small, loss, [
        ("bce", lambda: (by_hand.softplus(-score(near)).mean() + by_hand.softplus(score(far)).mean()) / 2),
    ])  # fmt: skip
    np.testing.assert_allclose(loss.per_image["real"].detach().numpy(), score(near))
