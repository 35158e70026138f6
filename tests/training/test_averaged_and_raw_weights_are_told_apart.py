"""A file with averaged and raw weights gives the averaged, and says so; weights=raw takes the others."""

import logging
from argparse import Namespace

import pytest
import torch
from torch import nn

from harness.core.errors import UserError
from harness.training import weights as foreign

RAW = {"conv1.weight": torch.zeros(2, 2), "fc.bias": torch.zeros(3)}
AVERAGED = {name: tensor + 1 for name, tensor in RAW.items()}
OPTIMIZER = {"state": {0: {"momentum_buffer": torch.full((2, 2), 9.0)}}, "param_groups": [{"lr": 0.1}]}


def before(prefix, weights):
    return {prefix + name: tensor for name, tensor in weights.items()}


def counted(weights):
    return {"n_averaged": torch.tensor(7), **before("module.", weights)}


BOTH = {
    "torchvision": {"model": RAW, "model_ema": counted(AVERAGED), "optimizer": OPTIMIZER, "epoch": 3},
    "timm": {"state_dict": RAW, "state_dict_ema": AVERAGED, "optimizer": OPTIMIZER, "arch": "wrn", "epoch": 3},
    "ema and model": {"ema": AVERAGED, "model": RAW},
    "RT-DETR": {"ema": {"module": AVERAGED, "updates": 10}, "model": RAW},
    "two state dicts": {"model_state_dict": before("module.", RAW), "model_ema_state_dict": AVERAGED},
    "DAT": {"model_state_dict": before("module.", RAW), "ema_state_dict": counted(AVERAGED), "metrics": {"fid": 9.9}},
    "BasicSR": {"params": RAW, "params_ema": AVERAGED},
    "net": {"net": RAW, "net_ema": AVERAGED, "acc": 93.1},
    "inside another": {"model": {"state_dict": RAW, "state_dict_ema": AVERAGED}},
    "Lightning, two modules": {
        "state_dict": before("model.", RAW) | before("ema_model.", counted(AVERAGED)),
        "pytorch-lightning_version": "2.4.0",
        "optimizer_states": [OPTIMIZER],
    },
    "Lightning, compiled": {
        "state_dict": before("net._orig_mod.", RAW) | before("model_ema.module._orig_mod.", AVERAGED),
    },
    "Lightning, callback": {
        "state_dict": before("model.", RAW),
        "callbacks": {"Checkpoint": {"best": 0.9}, "EMA{}": {"ema_state_dict": before("model.", AVERAGED)}},
    },
    "Lightning, WeightAveraging": {
        "state_dict": before("model.", AVERAGED),
        "current_model_state": before("model.", RAW),
        "averaging_state": {"n_averaged": torch.tensor(7)},
    },
}  # fmt: skip
TOOK_AVERAGED = {"DAT", "Lightning, WeightAveraging"}
"""Those of which older versions took the averaged weights."""
REFUSED = {"Lightning, two modules", "Lightning, compiled"}
"""Those that older versions refused."""


def saved(content, path):
    torch.save(content, path)
    return path


def same(weights, expected):
    return set(weights) == set(expected) and all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("layout", BOTH)
def test_the_averaged_are_taken_and_said_to_be(layout, tmp_path, caplog):
    path = saved(BOTH[layout], tmp_path / "file.pt")
    with caplog.at_level(logging.WARNING):
        assert same(foreign.read(path), AVERAGED)
    assert f"{path} holds averaged and raw weights: the averaged ones are taken. weights=raw takes" in caplog.text


@pytest.mark.parametrize("layout", BOTH)
def test_the_raw_are_taken_where_asked_for(layout, tmp_path):
    assert same(foreign.read(saved(BOTH[layout], tmp_path / "file.pt"), "raw"), RAW)


@pytest.mark.parametrize("layout", sorted({*BOTH} - REFUSED))
def test_what_older_versions_took_has_no_mark(layout, tmp_path):
    """Their runs are named by the file's digest alone, so the other choice needs a mark."""
    path = saved(BOTH[layout], tmp_path / "file.pt")
    old, new = ("averaged", "raw") if layout in TOOK_AVERAGED else ("raw", "averaged")
    assert (foreign.mark(path, old), foreign.mark(path, new)) == ("", f":{new}")
    assert same(foreign.read(path, foreign.marked("digest")), AVERAGED if old == "averaged" else RAW)
    assert same(foreign.read(path, foreign.marked(f"digest:{new}")), AVERAGED if new == "averaged" else RAW)


@pytest.mark.parametrize(
    "content",
    [
        RAW,
        before("module._orig_mod.", RAW),
        before("_orig_mod.module.", RAW),
        {"conv1._orig_mod.weight": RAW["conv1.weight"], "fc.bias": RAW["fc.bias"]},
        {"net": RAW, "acc": 93.1},
        {"params": before("net.", RAW)},
        {"state_dict": before("model.net.", RAW), "callbacks": {"Checkpoint": {"best": 0.9}}},
        {"state_dict": before("net.module.", RAW), "model_ema": None, "ema": {"decay": 0.999}},
        {"module": before("net.model.", RAW), "params": {"lr": 0.1}},
    ],
)
def test_a_file_with_one_set_leaves_no_choice(content, tmp_path, caplog):
    path = saved(content, tmp_path / "file.pt")
    assert same(foreign.read(path), RAW) and same(foreign.read(path, "raw"), RAW)
    assert foreign.mark(path, "averaged") == foreign.mark(path, "raw") == "" and not caplog.text


@pytest.mark.parametrize(
    "content", [{"model_ema": AVERAGED, "epoch": 3}, {"state_dict": before("ema_model.", AVERAGED)}]
)
def test_raw_weights_that_are_not_there_are_refused(content, tmp_path):
    path = saved(content, tmp_path / "file.pt")
    assert same(foreign.read(path), AVERAGED) and foreign.mark(path, "averaged") == ""
    with pytest.raises(UserError, match=r"holds averaged weights only: drop weights=raw"):
        foreign.mark(path, "raw")


def test_averaged_tensors_without_names_are_refused_with_what_to_type(tmp_path):
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": list(AVERAGED.values())}
    path = saved({"model": RAW, "ema": ema}, tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"averaged weights without names.*weights=raw"):
        foreign.read(path)
    assert same(foreign.read(path, "raw"), RAW) and foreign.mark(path, "raw") == ""


def test_a_conversion_keeps_both(tmp_path):
    path = saved({"state_dict": RAW, "state_dict_ema": AVERAGED, "args": Namespace(lr=0.1)}, tmp_path / "old.pt")
    with pytest.raises(UserError, match="harness convert"):
        foreign.mark(path, "averaged")
    foreign.convert(path, tmp_path / "new.safetensors")
    assert same(foreign.read(tmp_path / "new.safetensors"), AVERAGED)
    assert same(foreign.read(tmp_path / "new.safetensors", "raw"), RAW)


def test_a_module_in_a_container_is_converted(tmp_path):
    nets = {"model": nn.Linear(2, 3), "ema": nn.Linear(2, 3)}
    foreign.convert(saved(nets, tmp_path / "old.pt"), tmp_path / "new.safetensors")
    assert same(foreign.read(tmp_path / "new.safetensors"), nets["ema"].state_dict())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told_as_that(value, tmp_path):
    bad = AVERAGED | {"fc.bias": torch.tensor([0, value, 0])}
    path = saved({"model": RAW, "model_ema": bad}, tmp_path / "file.pt")
    with pytest.raises(UserError, match=r"not finite \(NaN or infinite\): fc\.bias"):
        foreign.read(path)
    assert same(foreign.read(path, "raw"), RAW)
