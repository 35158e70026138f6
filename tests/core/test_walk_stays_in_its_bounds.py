"""Every walk, with any net, keeps its bounds and lengths, treats images independently and does not change the model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.random import PerImage
from harness.core.walk import Walk, cross_entropy, joint_logit, marginal_score, walk


def random_net(seed, dtype=torch.float32, scale=1.0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 5))
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=scale)
    return EnergyModel(layers, [0.5], [0.25]).to(dtype)


def linear_net(gain=1.0):
    """A net whose logits are linear in the pixels, with gradients of size `gain`."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    layers[1].weight.data.normal_().mul_(gain)
    return EnergyModel(layers, [0.0], [1.0])


def random_images(seed, n=6, dtype=torch.float32):
    return torch.rand(n, 1, 4, 4, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def lengths(offset, p=2.0):
    return offset.flatten(1).norm(p=p, dim=1)


LABELS = torch.tensor([0, 1, 2, 3, 4, 1])
SEEDS = st.integers(0, 2**31)
POWERS = {"l1": 1, "l1.5": 1.5, "l2": 2, "linf": torch.inf}


def test_no_steps_return_a_copy_of_the_start(net, images, labels):
    for keep in ("last", "best"):
        x = walk(net, images, joint_logit(labels), Walk(steps=5, step=0.1, keep=keep), steps=0)
        assert torch.equal(x, images)
        assert x.data_ptr() != images.data_ptr()


def test_a_walk_changes_neither_its_start_nor_leaves_a_graph(net, images, labels):
    before = images.clone()
    x = walk(net, images.requires_grad_(), joint_logit(labels), Walk(steps=3, step=0.3))
    assert torch.equal(images, before)
    assert images.grad is None
    assert not x.requires_grad
    assert (x.shape, x.dtype) == (images.shape, images.dtype)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6), st.floats(0.01, 3), st.floats(0.02, 2), st.sampled_from([*POWERS]))
def test_every_iterate_is_in_the_ball_and_in_the_box(seed, steps, step, eps, norm):
    start, net = random_images(seed), random_net(seed)
    for t in range(1, steps + 1):
        x = walk(net, start, cross_entropy(LABELS), Walk(steps=steps, step=step, eps=eps, norm=norm), steps=t)
        assert x.min() >= 0
        assert x.max() <= 1
        assert (lengths(x - start, POWERS[norm]) <= eps * (1 + 1e-5)).all()


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 6), st.floats(0.01, 3), st.floats(0, 0.95))
def test_a_walk_without_a_ball_is_no_longer_than_its_steps(seed, steps, step, momentum):
    start = random_images(seed, dtype=torch.double)
    for clamp in (True, False):
        how = Walk(steps=1, step=step, momentum=momentum, clamp=clamp)
        x = walk(random_net(seed, torch.double), start, joint_logit(LABELS), how, steps=steps)
        assert (lengths(x - start) <= steps * step * (1 + 1e-9)).all()
        assert not clamp or (x.min() >= 0 and x.max() <= 1)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 8), st.floats(0.01, 3))
def test_a_walk_up_a_linear_logit_is_as_long_as_its_steps(seed, steps, step):
    start = random_images(seed, dtype=torch.double)
    how = Walk(steps=steps, step=step, clamp=False)
    x = walk(linear_net().double(), start, joint_logit(LABELS), how)
    torch.testing.assert_close(
        lengths(x - start), torch.full((6,), steps * step, dtype=torch.double), rtol=1e-10, atol=0
    )


@settings(max_examples=40)
@given(SEEDS, st.floats(0.02, 2))
def test_an_attack_does_not_lower_the_loss_on_average(seed, eps):
    net, start, loss = random_net(seed, scale=0.3), random_images(seed), cross_entropy(LABELS)
    x = walk(net, start, loss, Walk(steps=10, step=eps / 5, eps=eps))
    assert loss(net(x)).mean() >= loss(net(start)).mean() - 1e-6


@settings(max_examples=40)
@given(SEEDS, st.integers(0, 6), st.floats(0.01, 5))
def test_the_best_iterate_is_never_worse_than_the_start_or_the_last(seed, steps, step):
    net, start, loss = random_net(seed), random_images(seed), cross_entropy(LABELS)
    best, last = (walk(net, start, loss, Walk(1, step, eps=1.0, keep=keep), steps=steps) for keep in ("best", "last"))
    assert (loss(net(best)) >= loss(net(start))).all()
    assert (loss(net(best)) >= loss(net(last))).all()


@pytest.mark.parametrize("how", [
    Walk(steps=5, step=0.3),
    Walk(steps=5, step=0.1, eps=0.2, norm="linf"),
    Walk(steps=5, step=0.3, eps=0.7, norm="l1"),
    Walk(steps=5, step=0.3, eps=0.6, norm="l1.5", keep="best"),
    Walk(steps=5, step=0.3, eps=0.5, momentum=0.9, keep="best"),
    Walk(steps=5, step=0.25, direction="raw", noise=0.1, clamp=False),
])  # fmt: skip
def test_an_image_walks_alike_whatever_batch_it_is_in(net, images, labels, how):
    together = walk(net, images, cross_entropy(labels), how, normal=PerImage(range(6)).normal)
    for i in range(6):
        one = slice(i, i + 1)
        alone = walk(net, images[one], cross_entropy(labels[one]), how, normal=PerImage([i]).normal)
        torch.testing.assert_close(alone, together[one], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", POWERS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_an_image_without_a_gradient_stays_where_it_is(norm, momentum):
    start = random_images(0)
    x = walk(linear_net(0), start, joint_logit(LABELS), Walk(steps=3, step=0.5, norm=norm, momentum=momentum))
    assert torch.equal(x, start)


@pytest.mark.parametrize("gain", [1e-30, 1e-12, 1e30])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_size_of_a_gradient_does_not_shorten_the_step(gain, momentum):
    start = random_images(0)
    how = Walk(steps=3, step=0.5, momentum=momentum, clamp=False)
    x, usual = (walk(linear_net(g), start, joint_logit(LABELS), how) for g in (gain, 1.0))
    torch.testing.assert_close(lengths(x - start), torch.full((6,), 1.5), rtol=1e-5, atol=0)
    torch.testing.assert_close(x, usual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_as_it_was(digits_net, fails, mode):
    model = digits_net()
    model.freeze_norm = True
    model.train(mode)
    model.net.head.bias.requires_grad_(False)
    statistics = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    seen = []

    def objective(logits):
        seen.append((model.training, any(p.requires_grad for p in model.parameters())))
        if fails and len(seen) == 2:
            raise ArithmeticError
        return marginal_score(logits)

    try:
        walk(model, torch.rand(3, 1, 8, 8), objective, Walk(steps=3, step=0.1))
        assert not fails
    except ArithmeticError:
        assert fails
    assert set(seen) == {(False, False)}, "the walk must run in evaluation mode, with parameters outside the graph"
    assert [module.training for module in model.modules()] == modes
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["net.head.bias"]
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, statistics[name]) for name, value in model.state_dict().items())


def test_batch_statistics_do_not_move_even_where_normalisation_learns(digits_net):
    model = digits_net().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    walk(model, torch.rand(3, 1, 8, 8), marginal_score, Walk(steps=2, step=0.1))
    assert model.net.norm0.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_noise_is_a_function_of_its_generator(net, images):
    how = Walk(steps=4, step=0.1, noise=0.1)

    def walked(seed):
        generator = torch.Generator().manual_seed(seed)
        draw = lambda x: torch.randn(x.shape, generator=generator, dtype=x.dtype)  # noqa: E731
        return walk(net, images, marginal_score, how, normal=draw)

    assert torch.equal(walked(0), walked(0))
    assert not torch.equal(walked(0), walked(1))


def test_noise_without_a_source_is_refused(net, images):
    with pytest.raises(ValueError, match="noise"):
        walk(net, images, marginal_score, Walk(steps=1, step=0.1, noise=0.1))


@pytest.mark.parametrize("field", [
    {"steps": -1}, {"step": 0}, {"step": float("nan")}, {"eps": 0}, {"eps": -1}, {"momentum": 1.0}, {"momentum": -0.1},
    {"noise": -1}, {"noise": float("nan")},
])  # fmt: skip
def test_settings_without_a_meaning_are_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Walk(**({"steps": 1, "step": 0.1} | field))
