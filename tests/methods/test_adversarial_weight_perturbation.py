"""AWP takes the gradients of any stage at weights perturbed layer by layer, on the images attacked at the old ones."""

from dataclasses import replace

import by_hand
import numpy as np
import pytest
import torch
from commandline import quick
from small_stages import ATTACK, TRAINING

import harness
from harness.core.optim import Training
from harness.core.shard import Shard
from harness.core.walk import Walk, joint_logit, keep_walks, repeat_walks, walk
from harness.datasets.digits import Digits
from harness.methods.at import Robust
from harness.methods.mart import Aware
from harness.methods.trades import Tradeoff
from harness.methods.weat import Weighted
from harness.runs.build import stage_inputs, untrained
from harness.training.batches import StageInputs
from harness.training.step import Step

CPU = torch.device("cpu")
GAMMA = 0.05
AWP = replace(TRAINING, awp=GAMMA, momentum=0, ema=None)


def cross_entropy(small, x, attacked, y):
    return by_hand.cross_entropy(small.logits(attacked), y).mean()


def tradeoff(small, x, attacked, y):
    clean, logits = small.logits(x), small.logits(attacked)
    return (by_hand.cross_entropy(clean, y) + 6 * by_hand.divergence(clean, logits)).mean()


def weighted(weights):
    def loss(small, x, attacked, y):
        clean, logits = small.logits(x), small.logits(attacked)
        return (weights(small) * (by_hand.cross_entropy(clean, y) + 6 * by_hand.divergence(clean, logits))).mean()

    return loss


def aware(small, x, attacked, y):
    clean, logits, rows = small.logits(x), small.logits(attacked), np.arange(len(y))
    p = by_hand.softmax(logits)
    wrong = np.array([max(p[i, k] for k in range(p.shape[1]) if k != y[i]) for i in rows])
    missing = 1 - by_hand.softmax(clean)[rows, y]
    return (-np.log(p[rows, y]) - np.log(1 - wrong) + 5 * by_hand.divergence(clean, logits) * missing).mean()


def weight(small, x):
    """1 / log(1 + exp|E(x)|) at the present weights; no gradient flows through it."""
    parameters = [p.real for p in small.parameters]
    fixed = type("Fixed", (by_hand.Net,), {"__init__": lambda self: None})()
    fixed.parameters = parameters
    return 1 / np.log(1 + np.exp(np.abs(by_hand.logsumexp(fixed.logits(x)))))


CASES = {
    "at": (Robust(ATTACK, AWP), cross_entropy, "ce", 0),
    "trades": (Tradeoff(ATTACK, AWP), tradeoff, "kl", 0.001),
    "weat": (Weighted(ATTACK, AWP), None, "kl", 0.001),
    "mart": (Aware(ATTACK, AWP), aware, "ce", 0.001),
}
"""The stage, its loss by hand, what its attack climbs, and the noise that the attack begins with."""


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_sgd_by_the_gradients_at_the_perturbed_weights(name, net, small, batch):
    stage, loss, climbed, noise = CASES[name]
    x, y = batch.images["labelled"].numpy(), batch.labels["labelled"].numpy()
    if name == "weat":
        loss = weighted(lambda small: weight(small, x))
    step = Step(stage, net, StageInputs(Digits(), None, ("test",), CPU))

    # Attack at the weights as they are.
    draw = torch.randn(x.shape, generator=step.rng("step", 0), dtype=torch.double).numpy()
    if climbed == "ce":
        gradient = by_hand.ascent_of_cross_entropy(small, y)
    else:
        gradient = by_hand.ascent_of_divergence(small, small.logits(x))
    attacked = by_hand.pgd(gradient, x + noise * draw, x, ATTACK.steps, ATTACK.step, ATTACK.eps)

    # Perturb each matrix by γ ‖w‖ along the gradient of its own, and leave the biases.
    before = [p.copy() for p in small.parameters]
    first = small.parameter_gradients(lambda: loss(small, x, attacked, y))
    for place, (w, g) in enumerate(zip(before, first, strict=True)):
        if w.ndim == 2:
            small.parameters[place] = w + GAMMA * np.sqrt((w**2).sum()) * g / np.sqrt((g**2).sum())
    second = small.parameter_gradients(lambda: loss(small, x, attacked, y))
    expected = [w - 0.1 * g for w, g in zip(before, second, strict=True)]

    step(0, batch)
    for ours, theirs, w, g in zip(net.parameters(), expected, before, first, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-9, atol=1e-12)
        assert not np.allclose(theirs, w - 0.1 * g, rtol=1e-3), "the perturbation must matter, or the test sees none"


@pytest.mark.parametrize("method", ["atjem", "jem", "hdge"])
def test_the_second_pass_is_the_first_one_where_the_weights_hardly_move(method):
    """It draws the same, walks nowhere, and sees the state before the step, whatever a stage has of these."""
    (run,) = harness.plan(*quick(method, 1))
    for name, stage in run.method.stages.items():
        how = replace(stage.training, optimizer="sgd", lr=1, momentum=0, weight_decay=0, warmup=0, ema=None)
        results = []
        for awp in (0, 1e-9):
            once = replace(stage, training=replace(how, awp=awp))  # pyright: ignore[reportArgumentType]
            step = Step(once, untrained(run), stage_inputs(run, name, once, CPU))
            figures = step(*next(step.batches()))
            results.append([*step.model.state_dict().values(), *step.state.values(), torch.tensor([*figures.values()])])
        for plain, perturbed in zip(*results, strict=True):
            torch.testing.assert_close(perturbed, plain, rtol=1e-4, atol=1e-5)


def test_a_repeated_walk_returns_its_images_and_leaves_the_source_of_noise_where_it_was(net, images, labels):
    sgld = Walk(steps=3, step=0.1, direction="raw", noise=0.1, clamp=False)

    def two_walks_and_a_draw():
        normal = Shard(torch.Generator().manual_seed(0)).normal
        return [walk(net, images, joint_logit(labels), sgld, normal=normal, steps=n) for n in (None, 2)], normal(images)

    with keep_walks() as kept:
        walked, drawn = two_walks_and_a_draw()
    with repeat_walks(kept), torch.no_grad():
        next(net.parameters()).mul_(2)
        repeated, drawn_again = two_walks_and_a_draw()
    assert all(one is other for one, other in zip(walked, repeated, strict=True)) and len(kept) == 2
    assert torch.equal(drawn, drawn_again)
    assert not torch.equal(two_walks_and_a_draw()[0][0], walked[0]), "outside, it walks again"


def test_it_is_a_part_of_a_runs_name_only_where_it_is_used():
    plain, off, on = (
        harness.plan("method=mart", *more)[0].fingerprint
        for more in ([], ["method.aware.training.awp=0"], ["method.aware.training.awp=0.005"])
    )
    assert plain == off != on


@pytest.mark.parametrize("fields, what", [({"awp": -1}, "awp must be 0"), ({"awp": 1, "sharpness": 1}, "combined")])
def test_what_it_refuses(fields, what):
    with pytest.raises(ValueError, match=what):
        Training(epochs=1, batch=8, optimizer="sgd", lr=0.1, **fields)
