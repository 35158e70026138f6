"""`mean: auto` is the mean of the data's training images, as numbers, in the config and in the name of a run."""

import numpy as np
import on_disk
import pytest
import yaml
from sklearn.datasets import load_digits

import harness
from harness.core.errors import UserError
from harness.runs.build import untrained
from harness.runs.compose import compose
from harness.runs.run import Run

CIFAR10 = [0.4913997551666284, 0.48215855929893703, 0.4465309133731618]
"""CIFAR-10's mean, to the digits that DAT and RATIO have; all recipes of CIFAR were named with it."""


NAMES = {"at": "75285baaf0bf", "jem": "a68e237d8624"}
"""Fingerprints of these methods on CIFAR-10, as they were when the net's config held the numbers."""


def composed(*words):
    return Run(*compose(["method=at", *words]))


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_recipes_keep_the_numbers_and_the_name_that_they_had(data):
    run = composed(f"data={data}")
    assert run.config.model["mean"] == CIFAR10
    spelt = composed(
        f"data={data}", f"model.mean={CIFAR10}", "model.std=[0.24703225141799082,0.24348516474564,0.26158783926049628]"
    )
    assert run.name == spelt.name


@pytest.mark.parametrize("method", NAMES)
def test_the_names_of_runs_on_cifar_are_those_of_before(method):
    assert Run(*compose([f"method={method}", "data=cifar10"])).fingerprint == NAMES[method]


@pytest.mark.parametrize("net", ["small", "wrn"])
def test_published_numbers_need_no_files(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = composed("data=fashion_mnist", f"model={net}").config.model
    assert (model["mean"], model["std"]) == ([0.2860], [0.3530])


def test_others_are_computed_from_the_training_images():
    run = composed("data=digits", "model=wrn", "model.depth=10", "model.widen=1")
    kept = run.data.tensors("train")[0].numpy()
    assert run.config.model["mean"] == [pytest.approx(np.mean(kept, dtype=float), abs=6e-5)]
    assert run.config.model["std"] == [pytest.approx(np.std(kept, dtype=float), abs=6e-5)]
    whole = load_digits().data / 16
    assert run.config.model["mean"] != [round(whole.mean(), 4)], "test images have no part in it"
    other = composed("data=digits", "model=wrn", "model.depth=10", "model.widen=1", "data.split_seed=1")
    assert other.config.model["mean"] != run.config.model["mean"]


def test_each_channel_has_its_own(tmp_path):
    root = on_disk.pictures(tmp_path)
    run = composed("data=folder", f"data.root={root}", "method.robust.training.batch=8")
    assert len(set(run.config.model["mean"])) == 3
    images = run.data.tensors("train")[0].double().numpy()
    assert np.allclose(run.config.model["mean"], images.mean((0, 2, 3)), atol=6e-5)
    assert np.allclose(run.config.model["std"], images.std((0, 2, 3)), atol=6e-5)
    assert untrained(run).mean.flatten().tolist() == pytest.approx(run.config.model["mean"])


def test_any_net_takes_them_and_any_net_takes_others(tmp_path):
    auto = composed("data=digits", "model.mean=auto", "model.std=auto")
    assert auto.config.model["mean"] == composed("data=digits", "model=small").config.model["mean"]
    assert composed("data=digits", "model=small", "model.mean=[0.5]", "model.std=[0.25]").config.model["mean"] == [0.5]
    with pytest.raises(UserError, match=r"model\.mean=auto"):
        harness.plan("method=at", "data=digits", "model=timm")


def test_the_frozen_config_has_the_numbers(tmp_path):
    run = composed("data=digits", "model=small", f"runs={tmp_path}")
    run.freeze()
    frozen = yaml.safe_load((run.folder / "config.yaml").read_text())["model"]
    assert frozen["mean"] == run.config.model["mean"] and isinstance(frozen["mean"][0], float)
