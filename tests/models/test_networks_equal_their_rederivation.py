"""Each net's logits equal those of its description, written here as plain functions of its weights."""

import pytest
import torch
from torch import nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    batch_norm,
    conv2d,
    gelu,
    layer_norm,
    leaky_relu,
    linear,
    max_pool2d,
    pad,
    relu,
    silu,
)

from harness.models.convnext_cvst import ConvNeXtCvSt
from harness.models.dm_wrn import DMWRN
from harness.models.preactresnet18 import PreActResNet18
from harness.models.timm import timm_net
from harness.models.wrn import WRN
from harness.models.wrn50_4 import WRN504


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("depth", "widen", "side"), [(10, 1, 32), (16, 2, 32), (10, 2, 20)])
def test_standard_wrn(norm, depth, widen, side):
    net, x = scrambled(WRN(7, 3, depth, widen, "standard", norm, 0.1)), images(side)
    assert_same(net(x), standard_wrn(Weights(net), x, (depth - 4) // 6))


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize(("depth", "widen", "side"), [(10, 1, 32), (16, 2, 32), (10, 2, 20)])
def test_jem_wrn(norm, depth, widen, side):
    net, x = scrambled(WRN(7, 3, depth, widen, "jem", norm, 0.9)), images(side)
    assert_same(net(x), jem_wrn(Weights(net), x, (depth - 4) // 6))


@pytest.mark.parametrize(("depth", "widen", "side"), [(10, 1, 32), (16, 2, 32)])
@pytest.mark.parametrize(("activation", "function"), [("silu", silu), ("relu", relu)])
def test_dm_wrn(depth, widen, side, activation, function):
    net, x = scrambled(DMWRN(7, 3, depth, widen, activation, 0.01)), images(side)
    assert_same(net(x), dm_wrn(Weights(net), x, (depth - 4) // 6, function))


@pytest.mark.parametrize(
    ("raw", "head_norm", "activation", "function"), [(0, True, "relu", relu), (1, False, "silu", silu)]
)
def test_preactresnet18(raw, head_norm, activation, function):
    net = scrambled(PreActResNet18(7, 3, ("activated", "raw")[raw], head_norm, activation, 0.1))
    x = images(16)
    assert_same(net(x), preactresnet18(Weights(net), x, raw, function if head_norm else torch.clone, function))


def test_at_side_32_pooling_is_over_8x8():
    net, sides = scrambled(WRN(7, 3, 10, 1, "standard", "batch", 0.1)), []
    net.pool.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[2:]))
    net(images(32))
    assert sides == [(8, 8)]


@pytest.mark.parametrize("momentum", [0.1, 0.9])
def test_momentum_weighs_the_newest_batch(momentum):
    net = WRN(7, 3, 10, 1, "jem", "batch", momentum).train()
    net.conv1.weight.data.zero_()
    net.conv1.bias.data.fill_(10.0)
    net(images(32).float())
    assert net.layer1[0].bn1.running_mean == pytest.approx([momentum * 10] * 16)


@pytest.mark.parametrize("begin", [lambda: timm_net(7, 3, "resnet50", {}), lambda: WRN504(7, 3)])
def test_bottleneck_resnets(begin):
    net, x = scrambled(begin()), images(64)
    assert_same(net(x), resnet50(Weights(net), x))


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_convnext_stems(size):
    net, x = scrambled(ConvNeXtCvSt(7, 3, size).stem), images(36)
    assert_same(net(x), conv_stem(Weights(net), x, 2 if size == "small" else 3))
    assert net(x).shape[2:] == (9, 9)


def test_convnext_small():
    net, x = scrambled(ConvNeXtCvSt(7, 3, "small")), images(64)
    assert_same(net(x), convnext_small(Weights(net), x))
    assert {"stem.stem.0.weight", "stages.0.blocks.0.gamma", "head.norm.weight", "head.fc.bias"} <= set(
        net.state_dict()
    )


# --- the descriptions -------------------------------------------------------------------------------------------------


def standard_wrn(w, x, blocks):
    x = w.conv("conv1", x, 1, 1)
    for group in 1, 2, 3:
        for i in range(blocks):
            at, stride = f"block{group}.layer.{i}.", 2 if group > 1 and i == 0 else 1
            active = w.bn(at + "bn1", x).clamp(min=0)
            shortcut = w.conv(at + "convShortcut", active, stride, 0) if at + "convShortcut.weight" in w.state else x
            inner = w.bn(at + "bn2", w.conv(at + "conv1", active, stride, 1)).clamp(min=0)
            x = shortcut + w.conv(at + "conv2", inner, 1, 1)
    return w.linear("fc", w.bn("bn1", x).clamp(min=0).mean((2, 3)))


def dm_wrn(w, x, blocks, act):
    x = w.conv("init_conv", x, 1, 1)
    for group in 0, 1, 2:
        for i in range(blocks):
            at, stride = f"layer.{group}.block.{i}.", 2 if group and i == 0 else 1
            active = act(w.bn(at + "batchnorm_0", x))
            shortcut = w.conv(at + "shortcut", active, stride, 0) if at + "shortcut.weight" in w.state else x
            # TensorFlow's SAME: what an even side lacks is padded below and to the right.
            inner = w.conv(at + "conv_0", pad(active, (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)), stride, 0)
            x = shortcut + w.conv(at + "conv_1", act(w.bn(at + "batchnorm_1", inner)), 1, 1)
    return w.linear("logits", act(w.bn("batchnorm", x)).mean((2, 3)))


def preactresnet18(w, x, raw, last, act):
    x = w.conv("conv1", x, 1, 1)
    for group in 1, 2, 3, 4:
        for i in 0, 1:
            at, stride = f"layer{group}.{i}.", 2 if group > 1 and i == 0 else 1
            active = act(w.bn(at + "bn1", x))
            projected = at + "shortcut.0.weight" in w.state
            shortcut = w.conv(at + "shortcut.0", x if raw else active, stride, 0) if projected else x
            inner = act(w.bn(at + "bn2", w.conv(at + "conv1", active, stride, 1)))
            x = shortcut + w.conv(at + "conv2", inner, 1, 1)
    return w.linear("linear", last(w.bn("bn", x)).mean((2, 3)))


def jem_wrn(w, x, blocks):
    x = w.conv("conv1", x, 1, 1)
    for group in 1, 2, 3:
        for i in range(blocks):
            at, stride = f"layer{group}.{i}.", 2 if group > 1 and i == 0 else 1
            shortcut = w.conv(at + "shortcut.0", x, stride, 0) if at + "shortcut.0.weight" in w.state else x
            inner = w.conv(at + "conv1", leaky_relu(w.bn(at + "bn1", x), 0.2), 1, 1)
            x = shortcut + w.conv(at + "conv2", leaky_relu(w.bn(at + "bn2", inner), 0.2), stride, 1)
    return w.linear("class_output", leaky_relu(w.bn("bn1", x), 0.2).mean((2, 3)))


def resnet50(w, x):
    x = max_pool2d(w.bn("bn1", w.conv("conv1", x, 2, 3)).relu(), 3, 2, 1)
    for group, blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(blocks):
            at, stride = f"layer{group}.{i}.", 2 if group > 1 and i == 0 else 1
            shortcut = x if i else w.bn(at + "downsample.1", w.conv(at + "downsample.0", x, stride, 0))
            x = w.bn(at + "bn1", w.conv(at + "conv1", x, 1, 0)).relu()
            x = w.bn(at + "bn2", w.conv(at + "conv2", x, stride, 1)).relu()
            x = (shortcut + w.bn(at + "bn3", w.conv(at + "conv3", x, 1, 0))).relu()
    return w.linear("fc", x.mean((2, 3)))


def conv_stem(w, x, convolutions, at="stem."):
    for i in range(convolutions):
        x = gelu(w.ln(f"{at}{3 * i + 1}", w.conv(f"{at}{3 * i}", x, 2 if i < 2 else 1, 1)))
    return x


def convnext_small(w, x):
    x = conv_stem(w, x, 2, "stem.stem.")
    for stage, blocks in enumerate((3, 3, 27, 3)):
        at = f"stages.{stage}."
        if stage:
            x = w.conv(at + "downsample.1", w.ln(at + "downsample.0", x), 2, 0)
        for i in range(blocks):
            block = f"{at}blocks.{i}."
            h = w.ln(block + "norm", w.conv(block + "conv_dw", x, 1, 3, groups=x.shape[1])).movedim(1, -1)
            h = w.linear(block + "mlp.fc2", gelu(w.linear(block + "mlp.fc1", h)))
            x = x + (w.state[block + "gamma"] * h).movedim(-1, 1)
    return w.linear("head.fc", w.ln("head.norm", adaptive_avg_pool2d(x, 1))[:, :, 0, 0])


class Weights:
    """Layers as functions of a state dict; a missing convolution bias means none, a missing norm the identity."""

    def __init__(self, net):
        self.state = net.state_dict()

    def conv(self, name, x, stride, padding, groups=1):
        bias = self.state.get(f"{name}.bias")
        return conv2d(x, self.state[f"{name}.weight"], bias, stride, padding, groups=groups)

    def linear(self, name, x):
        return linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def bn(self, name, x):
        if f"{name}.weight" not in self.state:
            return x
        mean, var, weight, bias = (self.state[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return batch_norm(x, mean, var, weight, bias, eps=1e-5)

    def ln(self, name, x):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return layer_norm(x.movedim(1, -1), weight.shape, weight, bias, eps=1e-6).movedim(-1, 1)


# --- shared by the tests ----------------------------------------------------------------------------------------------


def images(side):
    return torch.rand(2, 3, side, side, dtype=torch.double, generator=torch.Generator().manual_seed(2))


def scrambled(net: nn.Module):
    """The net in float64 and evaluation mode, with no weight or statistic at a value that would hide an error."""
    generator = torch.Generator().manual_seed(4)
    for name, tensor in net.double().eval().state_dict().items():
        if tensor.is_floating_point() and tensor.dim() < 2:
            low, high = (-0.3, 0.3) if name.endswith(("bias", "mean")) else (0.4, 1.2)
            tensor.uniform_(low, high, generator=generator)
    return net


def assert_same(ours, theirs):
    assert ours.shape == theirs.shape and ours.std() > 0
    assert (ours - theirs).abs().max() <= 1e-10 * max(1, theirs.abs().max())
