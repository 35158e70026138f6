"""Weights are loaded strictly; an error names the tensors that do not fit and the model that they resemble."""

import itertools

import pytest
import torch
from torch import nn

from harness.core.errors import UserError
from harness.models.convnext_cvst import ConvNeXtCvSt
from harness.models.preactresnet18 import PreActResNet18
from harness.models.timm import timm_net
from harness.models.wrn import WRN
from harness.models.wrn50_4 import WRN504
from harness.training import weights as foreign
from harness.training.architectures import classes, model


def wrn(variant="standard", norm="batch"):
    return WRN(7, 3, 10, 1, variant, norm, 0.1)


def refusal(weights, net, path):
    with pytest.raises(UserError) as refused:
        foreign.fit(weights, net, path)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_another_number_of_classes_is_named_and_nothing_is_loaded(tmp_path):
    net = WRN(100, 3, 10, 1, "standard", "batch", 0.1)
    old = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    message = refusal(wrn().state_dict(), net, tmp_path / "ten.pth")
    assert "fc.weight (7x64, not 100x64)" in message and "has 7 classes, the model's 100" in message
    assert "looks like" not in message and "Missing" not in message
    assert all(torch.equal(tensor, old[name]) for name, tensor in net.state_dict().items())


def test_another_architecture_is_named_with_what_to_type(tmp_path):
    message = refusal(wrn("jem", "none").state_dict(), wrn(), tmp_path / "jem.pt")
    looks = "model=wrn model.variant=jem model.norm=none model.depth=10 model.widen=1"
    assert f"looks like {looks}" in message and "Missing: " in message and "Unexpected: conv1.bias, layer1.0" in message
    assert "(19 in all)" in message and message.count("weight") < 6, message


def test_a_single_missing_or_additional_tensor_is_refused(tmp_path):
    weights = wrn().state_dict()
    gone = weights.pop("fc.bias")
    assert "Missing: fc.bias" in refusal(weights, wrn(), tmp_path / "a")
    weights |= {"fc.bias": gone, "extra": gone}
    assert "Unexpected: extra" in refusal(weights, wrn(), tmp_path / "b")


@pytest.mark.parametrize(
    ("overrides", "make"),
    [
        (
            f"model=wrn model.variant={variant} model.norm={norm} model.depth={depth} model.widen={widen}",
            lambda v=variant, n=norm, d=depth, w=widen: WRN(5, 3, d, w, v, n, 0.1),
        )
        for variant, norm, depth, widen in itertools.product(["standard", "jem"], ["batch", "none"], [10, 28], [1, 10])
    ]
    + [
        (f"model=timm model.name={name}", lambda name=name: timm_net(5, 3, name, {}))
        for name in ("resnet18", "resnet34", "wide_resnet50_2")
    ]
    + [("model=resnet50", lambda: timm_net(5, 3, "resnet50", {})), (None, lambda: timm_net(5, 3, "resnet101", {}))]
    + [("model=wrn50_4", lambda: WRN504(5, 3))]
    + [(f"model=convnext_{size}", lambda size=size: ConvNeXtCvSt(5, 3, size)) for size in ("small", "base", "large")]
    + [(None, lambda: timm_net(5, 3, "convnext_small", {})), (None, nn.Identity)],
)
def test_a_model_is_recognised_by_its_weights(overrides, make):
    with torch.device("meta"):
        assert model(make().state_dict()) == overrides


@pytest.mark.parametrize("head_norm", [True, False])
def test_a_preactresnet18_is_recognised(head_norm):
    with torch.device("meta"):
        weights = PreActResNet18(10, 3, "activated", head_norm, "relu", 0.1).state_dict()
    assert model(weights) == f"model=preactresnet18 model.head_norm={str(head_norm).lower()}"
    assert classes(weights) == 10
