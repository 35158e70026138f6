"""Every published layout of weights can be read and gives the logits of the net that it was written from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from harness.core.energy import EnergyModel
from harness.models.convnext_cvst import ConvNeXtCvSt
from harness.models.timm import timm_net
from harness.models.wrn import WRN
from harness.training import weights as foreign


def before(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def averaged(prefix, weights):
    return {prefix.removesuffix("module.") + "n_averaged": torch.tensor(7), **before(prefix, weights)}


def dat_latest(weights):
    """A DAT checkpoint: the averaged weights are the ones to read; the model weights beside them differ."""
    others = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    return {
        "model_state_dict": before("module.", others),
        "optimizer_state_dict": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "ema_state_dict": averaged("module.", weights),
        "training_state": {"global_step": 100, "cur_outdist_steps": 30},
        "metrics": {"fid": 9.9},
        "config": {"T": 40, "name": "dat"},
        "wandb_run_id": "abc",
    }


def madry(weights):
    normalizer = {"new_mean": torch.ones(3, 1, 1), "new_std": torch.ones(3, 1, 1)}
    attacker = before("module.attacker.model.", {name: 2 * tensor for name, tensor in weights.items()})
    return (
        before("module.model.", weights)
        | attacker
        | before("module.normalizer.", normalizer)
        | before("module.attacker.normalize.", normalizer)
    )


def jem(weights):
    heads = {name: tensor for name, tensor in weights.items() if name.startswith("class_output.")}
    features = before("f.", {name: tensor for name, tensor in weights.items() if name not in heads})
    unused = {"energy_output.weight": torch.ones(1, 64), "energy_output.bias": torch.ones(1)}
    return {"model_state_dict": features | heads | unused, "replay_buffer": torch.rand(4, 3, 8, 8)}


def wrn():
    return WRN(7, 3, 10, 1, "standard", "batch", 0.1)


def jem_wrn():
    return WRN(7, 3, 10, 1, "jem", "none", 0.1)


def resnet():
    return timm_net(7, 3, "resnet18", {})


def convnext():
    return ConvNeXtCvSt(7, 3, "small")


LAYOUTS = {
    "DAT best, RATIO": (wrn, dict),
    "DAT latest": (wrn, dat_latest),
    "stage 1, averaged inside a parallel wrapper": (wrn, lambda w: averaged("module.module.", w)),
    "stage 1, parallel": (wrn, lambda w: before("module.", w)),
    "MadryLab, model": (resnet, lambda w: {"model": madry(w), "epoch": 90, "optimizer": {"state": {}}}),
    "MadryLab, state_dict": (resnet, lambda w: {"state_dict": madry(w)}),
    "MadryLab, reduced": (resnet, lambda w: before("module.", w)),
    "beside a normaliser": (resnet, lambda w: before("model.", w) | {"normalize.mean": torch.ones(3)}),
    "Revisiting-AT, base_model": (convnext, lambda w: before("base_model.", w)),
    "Revisiting-AT, both": (convnext, lambda w: before("module.base_model.", w)),
    "JEM": (jem_wrn, jem),
    "AT-EBM": (resnet, lambda w: before("module.", w)),
}
WRITERS = {
    "zip": torch.save,
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}


def scrambled(make, seed):
    torch.manual_seed(seed)
    net = make().eval()
    for tensor in net.state_dict().values():
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.uniform_(0.5, 1.5)
    return net


def assert_read_back(make, write, path):
    """Assert that weights written by `write(weights, path)` can be read into another net of the same architecture."""
    theirs, ours = scrambled(make, 1), scrambled(make, 2)
    x = torch.rand(2, 3, 32, 32)
    assert not torch.allclose(theirs(x), ours(x))
    write(theirs.state_dict(), path)
    foreign.fit(foreign.read(path), ours, path)
    assert torch.equal(theirs(x), ours(x))


@pytest.mark.parametrize("written", WRITERS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout(layout, written, tmp_path):
    make, arrange = LAYOUTS[layout]
    assert_read_back(make, lambda w, path: WRITERS[written](arrange(w), path), tmp_path / "misleading.safetensors")


@pytest.mark.parametrize("make", [wrn, jem_wrn])
@pytest.mark.parametrize("prefix", ["", "net.", "module."])
def test_safetensors_ours_and_others(make, prefix, tmp_path):
    assert_read_back(make, lambda w, path: save_file(before(prefix, w), path), tmp_path / "misleading.pth")


def test_of_our_own_names_no_more_than_net_is_taken(tmp_path):
    inner = nn.Sequential()
    inner.add_module("model", nn.Sequential())
    inner.model.add_module("normalize", nn.Linear(2, 2))
    save_file(EnergyModel(inner, [0.5], [0.5]).state_dict(), tmp_path / "weights.safetensors")
    assert set(foreign.read(tmp_path / "weights.safetensors")) == set(inner.state_dict())


@given(st.lists(st.sampled_from(["module.", "model.", "base_model."]), max_size=5), st.booleans())
def test_prefixes_in_any_order_and_number(tmp_path_factory, prefixes, counted):
    path = tmp_path_factory.mktemp("prefixes") / "file"
    weights = {"conv1.weight": torch.ones(2), "model.head.bias": torch.zeros(1)}
    counter = {"n_averaged": torch.tensor(1)} if counted else {}
    torch.save(before("".join(prefixes), weights) | counter, path)
    read = foreign.read(path)
    assert set(read) == set(weights) and torch.equal(read["conv1.weight"], weights["conv1.weight"])


def test_an_old_file_without_batch_counts_fits(tmp_path):
    weights = {n: t for n, t in wrn().state_dict().items() if not n.endswith("num_batches_tracked")}
    torch.save(weights, tmp_path / "old.pth")
    foreign.fit(foreign.read(tmp_path / "old.pth"), wrn(), tmp_path / "old.pth")
