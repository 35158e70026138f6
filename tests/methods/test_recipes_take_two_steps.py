"""Every recipe and study of CIFAR and ImageNet composes and plans; each method takes two steps on each of its nets.

The datasets on disk are small but have the real formats; walks are short and buffers small. Nets are the real ones,
except that WRN-28-10 gets width 1 (its published size has a test of its own). Those that are too large for a small
machine at 256 pixels get smaller images, and a first stage in place of their checkpoint.
"""

import shutil
from functools import cache

import on_disk
import pytest
import torch

import harness
from harness.core.files import read_json
from harness.core.registry import names
from harness.core.tensors import save_tensors
from harness.methods.jempp import class_gaussians
from harness.models.timm import timm_net
from harness.runs.compose import compose
from harness.runs.execute import train_stage
from harness.runs.progress import Watch

IMAGES = {"cifar10": (100, 10), "cifar100": (300, 100), "imagenet": (18, 3)}
"""Number of training images on disk, and how many of them are held out for validation."""

LARGE = ("wrn50_4", "convnext_cvst", "nf_resnet50")
"""Nets that get images of 32 pixels in these tests."""

HERE = ("digits", "fashion_mnist")
"""Datasets whose studies are run in this repository, not only planned."""

PAIRS = [name.split("_", 1) for name in names("recipe") if not name.endswith(HERE)]
RECIPES = [f"method={method} data={data}" for method, data in PAIRS]
STUDIES = [f"experiment={name}" for name in names("experiment") if not name.startswith(("digits", "fashion"))]
JUDGED_ONLY = [study for study in STUDIES if "acceptance" in study or ("imagenet" in study and "_at_" in study)]
"""Those of `method=pretrained`, as a test below checks; to compose them here would cost each worker that collects."""

TRAINED = [*RECIPES, *sorted(set(STUDIES) - set(JUDGED_ONLY))]
NETS = [
    "experiment=cifar10_dmat",
    "experiment=imagenet224_atjem_convnext_b",
    "experiment=imagenet224_atjem_wrn50_4_t30",
]
"""Studies of nets that no recipe uses."""

STEPPING = [
    *(recipe for recipe in RECIPES if not recipe.endswith("cifar100")),
    *NETS,
    "method=atjem data=cifar10 outliers=tinyimages outliers.reserve=5",
]
"""At least one choice of every kind, as a test below checks."""


@cache
def composed(choice):
    """The config of a choice; read-only, because it is cached."""
    return compose(choice.split())[0]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder with all datasets, and weights for ResNet-50 where the recipes expect them."""
    folder = tmp_path_factory.mktemp("disk")
    on_disk.cifar10(folder / "data", IMAGES["cifar10"][0])
    on_disk.cifar100(folder / "data", IMAGES["cifar100"][0])
    on_disk.imagenet(folder / "data" / "imagenet", 3, 6)
    on_disk.openimages(folder / "data" / "openimages")
    on_disk.tinyimages(folder / "data" / "tinyimages")
    on_disk.generated(folder / "data" / "edm" / "1m.npz", 20)
    torch.manual_seed(0)
    save_tensors(folder / "checkpoints" / "resnet50_l2_eps3.safetensors", timm_net(3, 3, "resnet50", {}).state_dict())
    yield folder
    shutil.rmtree(folder)  # gigabytes of weights


@pytest.fixture(scope="module")
def gaussians():
    """`class_gaussians` with a cache, shared by all methods that start from them: ten covariances of 3,072 pixels."""
    made = {}

    def once(data):
        if type(data) not in made:
            made[type(data)] = class_gaussians(data)
        return made[type(data)]

    return once


@pytest.fixture
def planned(disk, gaussians, monkeypatch):
    """A function that plans a choice on these data, with two steps of two images for each stage."""
    monkeypatch.chdir(disk)
    monkeypatch.setattr("harness.methods.jempp.class_gaussians", gaussians)

    def plan(choice, *more):
        config = composed(choice)
        name = config.data["name"]
        images, held_out = IMAGES["imagenet" if name.startswith("imagenet") else name]
        given = [f"data.validation={held_out}", "init_accuracy=0", "workers=0", *more]
        for stage, part in config.method.items():
            if isinstance(part, dict) and "training" in part:
                given += [
                    f"method.{stage}.training.batch=2",
                    f"method.{stage}.training.epochs={4 / (images - held_out)}",
                ]
                given += [f"method.{stage}.training.lr=1e-6"]  # the published rate is too high for two images
                given += [f"method.{stage}.training.real_batch=1"] * bool(part["training"]["real_batch"])
        if name.startswith("imagenet"):
            given += ["outliers.reserve=4", *["method.energy.chains.buffer=6"] * ("energy" in config.method)]
            if config.model["name"] != "resnet50" and not any(o.startswith("init=") for o in more):
                given += ["init=null"]
        return harness.plan(*choice.split(), *given)

    return plan


def shortened(part, path="method"):
    """Yield overrides that limit each walk below `part` of a config to two steps and each buffer to a few images."""
    for key, value in part.items():
        if isinstance(value, dict):
            yield from shortened(value, f"{path}.{key}")
        elif key == "steps":
            yield f"{path}.steps={min(value, 2)}"
        elif key == "buffer":
            yield f"{path}.buffer=30"  # the same number of images for each class


def kinds(choices):
    """The combinations of method, net and kind of data among choices; choices of one kind differ only in numbers."""
    configs = map(composed, choices)
    named = ((getattr(one, part)["name"] for part in ("method", "model", "data")) for one in configs)
    return {(method, model, data.rstrip("0123456789")) for method, model, data in named}


@pytest.mark.parametrize("choice", STEPPING)
def test_two_steps_of_every_stage(choice, planned):
    """Each stage writes weights and records that it took two steps."""
    config = composed(choice)
    narrow = config.model["name"] in ("wrn", "dm_wrn")
    small = ["data.size=32"] * (config.model["name"] in LARGE) + ["model.widen=1"] * narrow
    run = planned(choice, *small, *shortened(config.method))[0]
    for training in run.stage_runs:
        train_stage(run, training, Watch())
        assert read_json(training.folder / "done.json")["steps"] == 2
        size = (training.folder / "weights.safetensors").stat().st_size
        assert narrow or size > 4 * 20e6, "it must be the real net"
    if training.name != "robust":  # other runs share the robust stage
        shutil.rmtree(training.folder)


def test_these_are_of_every_kind():
    assert kinds(STEPPING) == kinds(TRAINED)


def test_only_weights_that_are_given_are_only_judged():
    judged_only = [study for study in STUDIES if composed(study).method["name"] == "pretrained"]
    assert judged_only == JUDGED_ONLY


@pytest.mark.parametrize("choice", sorted(set(TRAINED) - set(STEPPING)))
def test_the_others_are_planned(choice, planned):
    """The data, the net and the stages exist and fit together."""
    for run in planned(choice):
        assert run.stage_runs


@pytest.mark.parametrize("choice", JUDGED_ONLY)
def test_weights_that_are_only_judged_are_planned(choice, planned, monkeypatch):
    monkeypatch.setattr("harness.runs.run.digest", lambda path: path)  # the real weights are too large for a test
    monkeypatch.setattr("harness.training.weights.read", lambda path, choice="": {})
    monkeypatch.setattr("harness.training.weights.mark", lambda path, choice: "")
    monkeypatch.setattr("harness.training.weights.check", lambda weights, net, path: None)
    (run,) = planned(choice, f"init={composed(choice).init}")
    assert run.init and not run.stage_runs


def test_the_setting_without_flags_is_the_published_one(planned):
    """Section 1.7: ResNet-50, T = 30, 256 pixels."""
    (run,) = planned("method=atjem data=imagenet256")
    composed = compose(["method=atjem", "data=imagenet256"])[0].method["joint"]["training"]
    joint, sampler = run.method.stages["joint"], run.method.sampler
    assert run.config.init == "checkpoints/resnet50_l2_eps3.safetensors"
    assert [training.name for training in run.stage_runs] == ["joint"]
    assert (joint.contrast.walk.steps, joint.contrast.walk.step, joint.contrast.curriculum.auc) == (30, 2.0, 0.4)
    assert (joint.attack.steps, joint.attack.step, joint.attack.eps) == (3, 2.0, 3.0)
    how = joint.training
    assert (how.optimizer, how.weight_decay, how.nesterov, how.ema) == ("sgd", 5e-4, True, 0.999)
    assert (how.schedule, how.freeze_norm, sampler.steps, sampler.step) == ("constant", True, 14, 8.0)
    assert (composed["batch"], composed["lr"]) == (512, 1e-3)
