"""Configs build nets with the published sizes and weight names; an impossible net is explained."""

import pytest
import torch
import yaml

from harness.core.errors import UserError
from harness.core.registry import configs, make
from harness.models.convnext_cvst import ConvNeXtCvSt
from harness.models.dm_wrn import DMWRN
from harness.models.preactresnet18 import PreActResNet18
from harness.models.timm import timm_net
from harness.models.wrn import WRN
from harness.models.wrn50_4 import WRN504

SIZES = [
    (WRN, "wrn", {}, 10, 46_160_474),
    (WRN, "wrn", {"depth": 28}, 10, 36_479_194),
    (WRN, "wrn", {"depth": 28, "variant": "jem", "norm": "none"}, 10, 36_471_338),
    (DMWRN, "dm_wrn", {}, 10, 36_479_194),
    (DMWRN, "dm_wrn", {"depth": 70, "widen": 16}, 10, 266_796_506),
    (PreActResNet18, "preactresnet18", {}, 10, 11_172_170),
    (PreActResNet18, "preactresnet18", {"head_norm": False}, 10, 11_171_146),
    (WRN504, "wrn50_4", {}, 1000, 223_439_144),
    (ConvNeXtCvSt, "convnext_small", {}, 1000, 50_261_992),
    (ConvNeXtCvSt, "convnext_base", {}, 1000, 88_753_416),
    (ConvNeXtCvSt, "convnext_large", {}, 1000, 198_134_680),
]


@pytest.mark.parametrize(("net", "config", "changes", "classes", "parameters"), SIZES)
def test_configs_build_nets_of_the_published_sizes(net, config, changes, classes, parameters):
    fields = yaml.safe_load((configs("model") / f"{config}.yaml").read_text(encoding="utf-8"))
    fields = {key: value for key, value in fields.items() if key not in ("name", "mean", "std")} | changes
    with torch.device("meta"):
        assert size(make(net, "model", fields, classes=classes, channels=3)) == parameters


def test_resnet50_has_its_published_size():
    with torch.device("meta"):
        assert size(timm_net(1000, 3, "resnet50", {})) == 25_557_032


def test_wrn_weights_are_named_as_in_published_checkpoints():
    standard, jem = WRN(10, 3, 10, 2, "standard", "batch", 0.1), WRN(10, 3, 10, 2, "jem", "none", 0.1)
    parts = ["bn1.weight", "bn1.bias", "conv1.weight", "bn2.weight", "bn2.bias", "conv2.weight", "convShortcut.weight"]
    blocks = {f"block{i}.layer.0.{part}" for i in (1, 2, 3) for part in parts}
    names = blocks | {"conv1.weight", "bn1.weight", "bn1.bias", "fc.weight", "fc.bias"}
    assert {name for name, _ in standard.named_parameters()} == names
    convolutions = ["conv1", *(f"layer{i}.0.{part}" for i in (1, 2, 3) for part in ("conv1", "conv2", "shortcut.0"))]
    assert set(jem.state_dict()) == {f"{m}.{p}" for m in (*convolutions, "class_output") for p in ("weight", "bias")}


def test_dm_wrn_weights_are_named_as_in_published_checkpoints():
    block = ["batchnorm_0", "conv_0", "batchnorm_1", "conv_1", "shortcut"]
    modules = {f"layer.{group}.block.0.{part}" for group in (0, 1, 2) for part in block}
    names = {name.rpartition(".")[0] for name in DMWRN(10, 3, 10, 2, "silu", 0.01).state_dict()}
    assert names == modules | {"init_conv", "batchnorm", "logits"}


def test_preactresnet_weights_are_named_as_in_published_checkpoints():
    parts = ("bn1", "conv1", "bn2", "conv2")
    blocks = {f"layer{group}.{i}.{part}" for group in (1, 2, 3, 4) for i in (0, 1) for part in parts}
    projections = {f"layer{group}.0.shortcut.0" for group in (2, 3, 4)}
    with torch.device("meta"):
        net = PreActResNet18(10, 3, "activated", True, "relu", 0.1)
    names = {name.rpartition(".")[0] for name in net.state_dict()}
    assert names == blocks | projections | {"conv1", "bn", "linear"}


@pytest.mark.parametrize("fields", [{"depth": 12}, {"depth": 4}, {"widen": 0}, {"momentum": 1.5}])
def test_an_impossible_wrn_is_refused(fields):
    given = {"depth": 10, "widen": 1, "variant": "jem", "norm": "none", "momentum": 0.1} | fields
    with pytest.raises(ValueError, match=next(iter(fields))):
        WRN(7, 3, **given)


def test_timm_builds_for_the_datas_classes_and_channels():
    net = timm_net(5, 1, "resnet18", {"base_width": 64, "drop_rate": 0.5})
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 5) and net.drop_rate == 0.5


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("resnt50", {}, "Did you mean resnet50 or"),
        ("hf-hub:someone/net", {}, "timm has no model called"),
        ("resnet18", {"depht": 3}, "refuses.*depht"),
        ("resnet18", {"act_layer": "rleu"}, "refuses.*rleu"),
        ("resnet18", {"checkpoint_path": "weights.pth"}, "checkpoint_path cannot be set here"),
        ("resnet18", {"pretrained": True}, "pretrained cannot be set here"),
    ],
)
def test_what_timm_refuses_is_explained(architecture, options, message):
    with pytest.raises(UserError, match=message):
        timm_net(5, 1, architecture, options)


def size(net):
    return sum(parameter.numel() for parameter in net.parameters())
