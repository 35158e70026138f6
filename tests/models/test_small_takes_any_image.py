"""The small net equals its description at any shape of images; WRN takes them too."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import batch_norm, conv2d, leaky_relu, linear, relu, silu

import harness
from harness.core.errors import UserError
from harness.models.small import Small
from harness.models.wrn import WRN

ACTIVATIONS = {"relu": relu, "leaky_relu": lambda x: leaky_relu(x, 0.2), "silu": silu}


@given(
    channels=st.sampled_from([1, 3, 4]),
    sides=st.tuples(st.integers(8, 33), st.integers(8, 33)),
    strides=st.lists(st.sampled_from([1, 2]), min_size=1, max_size=5).map(tuple),
    norm=st.sampled_from(["batch", "none"]),
    activation=st.sampled_from(list(ACTIVATIONS)),
)
def test_it_equals_its_description(channels, sides, strides, norm, activation):
    torch.manual_seed(0)
    net = Small(7, channels, sides, 2, strides, norm, activation).double().eval()
    for p in (*net.parameters(), *(b for name, b in net.named_buffers() if "running" in name)):
        nn.init.uniform_(p, 0.1, 0.5)
    x = torch.rand(2, channels, *sides, dtype=torch.double)
    y, w = x, net.state_dict()
    for i, stride in enumerate(strides):
        y = conv2d(y, w[f"conv{i}.weight"], w.get(f"conv{i}.bias"), stride, 1)
        assert y.shape[1] == 2 * 2 ** strides[: i + 1].count(2)
        if norm == "batch":
            mean, var = w[f"norm{i}.running_mean"], w[f"norm{i}.running_var"]
            y = batch_norm(y, mean, var, w[f"norm{i}.weight"], w[f"norm{i}.bias"])
        y = ACTIVATIONS[activation](y)
    assert torch.allclose(net(x), linear(y.flatten(1), w["head.weight"], w["head.bias"]))


def test_it_has_a_tenth_of_a_million_parameters_on_28_pixels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (run,) = harness.plan("data=digits", "model=small")
    assert run.data.shape == (1, 8, 8), "and it takes digits"
    net = Small(10, 1, (28, 28), 16, (1, 2, 1, 2, 1), "batch", "relu")
    convolutions = [(1, 16), (16, 32), (32, 32), (32, 64), (64, 64)]
    expected = sum(9 * a * b + 2 * b for a, b in convolutions) + 10 * (64 * 49 + 1)
    assert sum(map(math.prod, (p.shape for p in net.parameters()))) == expected == 101_050


@pytest.mark.parametrize("variant", ["standard", "jem"])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_wrn_takes_grey_images_of_28_pixels(variant, norm):
    images = torch.rand(2, 1, 28, 28, requires_grad=True)
    logits = WRN(10, 1, 10, 1, variant, norm, 0.1)(images)
    assert logits.shape == (2, 10)
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), images)
    assert gradient.isfinite().all() and gradient.flatten(1).any(1).all()


@pytest.mark.parametrize("word", ["model.width=0", "model.strides=[]", "model.strides=[3]", "model.momentum=0"])
def test_what_it_cannot_be_is_explained(word):
    with pytest.raises(UserError, match=r"model\.?"):
        harness.plan("data=digits", "model=small", word)
