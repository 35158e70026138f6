"""Checkpoints of the official classes load, with the logits of those classes; what they do not use is named.

The classes are written here after their papers and the names in their files, and share no code with the harness's nets.
"""

import logging
from itertools import pairwise

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import avg_pool2d, leaky_relu, relu

from harness.core.errors import UserError
from harness.models.dm_wrn import DMWRN
from harness.models.wrn import WRN
from harness.training import weights as foreign
from harness.training.architectures import model


class JEMBlock(nn.Module):
    """A residual block of JEM: convolutions with bias, the second with the stride."""

    def __init__(self, inside, outside, stride, norm):
        super().__init__()
        self.bn1, self.bn2 = norm(inside), norm(outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, stride, 1)
        self.shortcut = nn.Sequential(*[nn.Conv2d(inside, outside, 1, stride)] if inside != outside else [])

    def forward(self, x):
        inner = self.conv1(leaky_relu(self.bn1(x), 0.2))
        return self.conv2(leaky_relu(self.bn2(inner), 0.2)) + self.shortcut(x)


class JEMFeatures(nn.Module):
    """JEM's features, with a `linear` that nothing uses; or JEM++'s, which has a second name for each layer instead."""

    def __init__(self, depth, widen, classes, norm, plusplus):
        super().__init__()
        n, widths = (depth - 4) // 6, (16, 16 * widen, 32 * widen, 64 * widen)
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        if plusplus:
            self.layer_one, self.other_layers = self.conv1, nn.ModuleList()
        for i, (inside, outside) in enumerate(pairwise(widths), start=1):
            first = JEMBlock(inside, outside, 1 if i == 1 else 2, norm)
            rest = [JEMBlock(outside, outside, 1, norm) for _ in range(n - 1)]
            self.add_module(f"layer{i}", nn.Sequential(first, *rest))
        self.bn1 = norm(widths[3])
        if plusplus:
            self.other_layers.extend([self.layer1, self.layer2, self.layer3, self.bn1])
        else:
            self.linear = nn.Linear(widths[3], classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return avg_pool2d(leaky_relu(self.bn1(x), 0.2), 8).flatten(1)


class JEM(nn.Module):
    """The features, the head of the classifier, and an unused head."""

    def __init__(self, depth=10, widen=2, classes=7, norm=nn.Identity, plusplus=False):
        super().__init__()
        self.f = JEMFeatures(depth, widen, classes, norm, plusplus)
        self.energy_output, self.class_output = nn.Linear(64 * widen, 1), nn.Linear(64 * widen, classes)

    def forward(self, x):
        return self.class_output(self.f(x))


class TRADESBlock(nn.Module):
    """A residual block of TRADES: without bias, the first convolution with the stride."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.convShortcut = nn.Conv2d(inside, outside, 1, stride, bias=False) if inside != outside else None

    def forward(self, x):
        active = relu(self.bn1(x))
        inner = self.conv2(relu(self.bn2(self.conv1(active))))
        return inner + (self.convShortcut(active) if self.convShortcut else x)


class TRADESGroup(nn.Module):
    """A group of blocks, under the name `layer`."""

    def __init__(self, n, inside, outside, stride):
        super().__init__()
        rest = [TRADESBlock(outside, outside, 1) for _ in range(n - 1)]
        self.layer = nn.Sequential(TRADESBlock(inside, outside, stride), *rest)

    def forward(self, x):
        return self.layer(x)


class TRADES(nn.Module):
    """The wide net of TRADES and of RobustBench's Zhang2019, with a `sub_block1` that nothing uses."""

    def __init__(self, depth=10, widen=2, classes=7):
        super().__init__()
        n = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1 = TRADESGroup(n, 16, 16 * widen, 1)
        self.sub_block1 = TRADESGroup(n, 16, 16 * widen, 1)
        self.block2 = TRADESGroup(n, 16 * widen, 32 * widen, 2)
        self.block3 = TRADESGroup(n, 32 * widen, 64 * widen, 2)
        self.bn1, self.fc = nn.BatchNorm2d(64 * widen), nn.Linear(64 * widen, classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(avg_pool2d(relu(self.bn1(x)), 8).flatten(1))


def jem_file(net, path):
    torch.save({"model_state_dict": net.state_dict(), "replay_buffer": torch.rand(4, 3, 32, 32)}, path)


def bare(net, path):
    torch.save(net.state_dict(), path)


def parallel(net, path):
    torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, path)


def container(net, path):
    torch.save({"state_dict": {f"module.{n}": t for n, t in net.state_dict().items()}, "epoch": 76}, path)


def copied(net, path):
    """As safetensors, in which no two names share memory."""
    save_file({name: tensor.clone() for name, tensor in net.state_dict().items()}, path)


OFFICIAL = {
    "JEM": (JEM, ("jem", "none"), jem_file, "energy_output, linear"),
    "JEM with batch norm": (lambda: JEM(norm=nn.BatchNorm2d), ("jem", "batch"), jem_file, "energy_output, linear"),
    "JEM++": (
        lambda: JEM(norm=nn.BatchNorm2d, plusplus=True),
        ("jem", "batch"),
        jem_file,
        "energy_output, layer_one, other_layers",
    ),
    "JEM++ as safetensors": (
        lambda: JEM(plusplus=True),
        ("jem", "none"),
        copied,
        "energy_output, layer_one, other_layers",
    ),
    "TRADES": (TRADES, ("standard", "batch"), bare, "sub_block1"),
    "TRADES, parallel": (TRADES, ("standard", "batch"), parallel, "sub_block1"),
    "RobustBench's Zhang2019": (TRADES, ("standard", "batch"), container, "sub_block1"),
}


def scrambled(net):
    """The net in evaluation mode, with random statistics and affine weights of its normalisation too."""
    torch.manual_seed(1)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize("name", OFFICIAL)
def test_an_official_class_gives_the_same_logits(name, tmp_path, caplog):
    make, (variant, norm), write, unused = OFFICIAL[name]
    theirs, ours = scrambled(make()), WRN(7, 3, 10, 2, variant, norm, 0.1).eval()
    write(theirs, tmp_path / "file.pt")
    with caplog.at_level(logging.WARNING):
        foreign.fit(foreign.read(tmp_path / "file.pt"), ours, tmp_path / "file.pt")
    x = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert f"{tmp_path / 'file.pt'}: the net does not use" in caplog.text and unused in caplog.text


def test_the_published_sizes(tmp_path):
    """Names and shapes of WRN-34-10 and WRN-28-10 fit; their logits are those of the small ones above."""
    with torch.device("meta"):
        pairs = [
            (TRADES(34, 10, 10), WRN(10, 3, 34, 10, "standard", "batch", 0.1)),
            (JEM(28, 10, 10), WRN(10, 3, 28, 10, "jem", "none", 0.1)),
        ]
    for theirs, ours in pairs:
        files = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in theirs.state_dict().items()}
        torch.save(files, tmp_path / "file")
        foreign.check(foreign.read(tmp_path / "file"), ours, tmp_path / "file")


def test_a_second_name_for_another_tensor_is_refused(tmp_path):
    state = JEM(plusplus=True).state_dict()
    state["f.other_layers.1.0.conv1.weight"] = state["f.other_layers.1.0.conv1.weight"] + 1
    torch.save({"model_state_dict": state}, tmp_path / "file")
    with pytest.raises(UserError, match=r"Unexpected: other_layers\.1\.0\.conv1\.weight"):
        foreign.fit(foreign.read(tmp_path / "file"), WRN(7, 3, 10, 2, "jem", "none", 0.1), tmp_path / "file")


@pytest.mark.parametrize("name", ["linear.weight", "sub_block2.layer.0.conv1.weight", "layer_two.weight"])
def test_anything_else_is_refused(name, tmp_path):
    torch.save(TRADES().state_dict() | {name: torch.ones(2)}, tmp_path / "file")
    with pytest.raises(UserError, match=f"Unexpected: {name}"):
        foreign.fit(foreign.read(tmp_path / "file"), WRN(7, 3, 10, 2, "standard", "batch", 0.1), tmp_path / "file")


def test_dm_ats_file_gives_its_averaged_weights_by_the_nets_own_names(tmp_path):
    net = DMWRN(7, 3, 10, 2, "silu", 0.01)
    averaged = {f"module.0.{name}": tensor for name, tensor in net.state_dict().items()}
    raw = {name: torch.zeros_like(tensor) for name, tensor in averaged.items()}
    torch.save({"model_state_dict": averaged, "unaveraged_model_state_dict": raw, "epoch": 9}, tmp_path / "w.pt")
    found = foreign.read(tmp_path / "w.pt")
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in net.state_dict().items())
    assert model(found) == "model=dm_wrn model.depth=10 model.widen=2"
