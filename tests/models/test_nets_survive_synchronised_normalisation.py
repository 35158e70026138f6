"""Where several GPUs normalise together, nets compute what they did before: no activation is lost in the conversion."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import nn
from torch._dynamo.utils import counters

from harness.core.distributed import World
from harness.core.energy import EnergyModel
from harness.core.optim import Training
from harness.core.walk import Walk, cross_entropy, walk
from harness.methods.standard import Classify
from harness.models.convnext_cvst import ConvNeXtCvSt
from harness.models.digits import Digits
from harness.models.dm_wrn import DMWRN
from harness.models.preactresnet18 import PreActResNet18
from harness.models.small import Small
from harness.models.timm import timm_net
from harness.models.wrn import WRN
from harness.models.wrn50_4 import WRN504
from harness.training.step import compile_net, synchronise_norm

CUDA, TWO = torch.device("cuda"), World(0, 2)

RECIPES = {
    "digits": (lambda: Digits(7, 3, 4, "batch", "silu"), 8),
    "small": (lambda: Small(7, 3, (8, 8), 4, (1, 2), "batch", "silu"), 8),
    "dm_wrn": (lambda: DMWRN(7, 3, 10, 1, "silu", 0.01), 16),
    "preactresnet18": (lambda: PreActResNet18(7, 3, "activated", True, "relu", 0.1), 16),
    "wrn": (lambda: WRN(7, 3, 10, 1, "standard", "batch", 0.1), 16),
    "wrn, jem": (lambda: WRN(7, 3, 10, 1, "jem", "batch", 0.9), 16),
    "resnet50": (lambda: timm_net(7, 3, "resnet50", {}), 32),
    "wrn50_4": (lambda: WRN504(7, 3), 32),
    "convnext_cvst": (lambda: ConvNeXtCvSt(7, 3, "small"), 32),
}
"""A small net of each architecture that recipes and configs name, and the side of its images."""

OTHERS = ("efficientnet_b0", "mobilenetv3_small_050", "resnetv2_50", "regnety_002", "densenet121")
"""Nets of timm's that hold activations in their normalisation layers, or may."""

NETS = RECIPES | {name: (lambda name=name: timm_net(7, 3, name, {}), 64) for name in OTHERS}


def scrambled(net):
    """The net with random normalisation; some nets begin with factors of 0, which would hide what follows."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.weight.data, module.running_var):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 4)
    return net


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_logits_weights_and_names_are_the_same(name):
    make, side = NETS[name]
    torch.manual_seed(0)
    model = EnergyModel(scrambled(make()), [0.5] * 3, [0.5] * 3).eval()
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    logits, weights = model(x), dict(model.state_dict())
    normalises = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    statistics = synchronise_norm(model, TWO, 1, CUDA)
    converted = [module for module in model.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert statistics == ("of all processes" if normalises else "frozen") and bool(converted) == normalises
    torch.testing.assert_close(model(x), logits, rtol=1e-5, atol=1e-5 * float(logits.abs().max()))
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert list(model.state_dict()) == list(weights)


def test_walks_of_a_compiled_net_stay_whole(monkeypatch):
    """On running statistics nothing is exchanged, so nothing cuts the pass, as docs/performance.md says."""
    graphs = []
    compiler = "torch._inductor.compile_fx.compile_fx"
    monkeypatch.setattr(compiler, lambda graph, inputs, **options: graphs.append(graph) or graph.forward)
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    model = EnergyModel(scrambled(Digits(7, 3, 4, "batch", "silu")), [0.5] * 3, [0.5] * 3)
    x, y = torch.rand(4, 3, 8, 8), torch.arange(4)
    plain = walk(model, x, cross_entropy(y), Walk(3, 0.1))
    synchronise_norm(model, TWO, 1, CUDA)
    compile_net(model, Classify(training=Training(epochs=1, batch=4, optimizer="sgd", lr=0.1)))
    compiled = walk(model, x, cross_entropy(y), Walk(3, 0.1))
    torch._dynamo.reset()
    torch.testing.assert_close(compiled, plain)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
    assert len(graphs) == 1 and not counters["graph_break"]


def test_lost_activations_would_be_seen():
    torch.manual_seed(0)
    net = scrambled(timm_net(7, 3, "efficientnet_b0", {})).eval()
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = net(x)
        assert not torch.allclose(nn.SyncBatchNorm.convert_sync_batchnorm(net)(x), logits, rtol=1e-2)


def test_every_net_of_the_configs_is_tried():
    files = (Path(__file__).parents[2] / "configs" / "model").glob("*.yaml")
    names = {yaml.safe_load(file.read_text())["name"] for file in files if file.stem != "timm"}
    assert names == set(RECIPES) - {"wrn, jem"}
