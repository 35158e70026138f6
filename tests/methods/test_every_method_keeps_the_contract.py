"""Every method and dataset in its folder keeps the contract; a new one is tested without writing a test."""

from importlib import import_module

import numpy as np
import on_disk
import pytest
import torch

import harness
from harness.core.method import Loss
from harness.core.registry import build, names
from harness.core.tensors import save_tensors
from harness.models.digits import Digits as DigitsNet
from harness.runs.compose import compose
from harness.runs.contract import verdicts

IDX = ("fashion_mnist", "mnist", "kmnist")
"""The datasets of IDX files."""

DATASETS = list(names("data"))
METHODS = list(names("method"))


@pytest.fixture(scope="module")
def needed(tmp_path_factory):
    """Overrides that name weights or images, for each method that trains nothing."""
    weights, images = (tmp_path_factory.mktemp("given") / name for name in ("digits.safetensors", "images.npz"))
    save_tensors(weights, DigitsNet(10, 1, 4, "batch", "relu").state_dict())
    np.savez(images, arr_0=np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8))
    return {"pretrained": [f"init={weights}", "init_accuracy=0"], "samples": [f"method.source={images}"]}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_keeps_every_promise(method, needed):
    given = needed.get(method, [])
    (run,) = harness.plan(f"method={method}", "model.width=4", "outliers.count=100", *given)
    for promise, problem in verdicts(run):
        assert problem is None, f"{promise}: {problem}"


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder with a few images of every dataset, in its real format."""
    folder, patch = tmp_path_factory.mktemp("disk"), pytest.MonkeyPatch()
    on_disk.cifar10(folder / "data", 100)
    on_disk.cifar100(folder / "data", 400)
    on_disk.imagenet(folder / "data" / "imagenet")
    on_disk.openimages(folder / "data" / "openimages")
    on_disk.svhn(folder / "data")
    for name in IDX:
        on_disk.idx(folder / "data", import_module(f"harness.datasets.{name}").FILES, patch)
    on_disk.pictures(folder / "data" / "folder")
    on_disk.tinyimages(folder / "data" / "tinyimages")
    yield folder
    patch.undo()


FEW = {"cifar10": 10, "cifar100": 100, "imagenet256": 3, "digits": 20, "folder": 0.2, **dict.fromkeys(IDX, 10)}
"""Number or share of images held out for validation, for datasets with so few images."""


@pytest.mark.parametrize("data", DATASETS)
def test_a_dataset_gives_what_it_says(data, disk, monkeypatch):
    monkeypatch.chdir(disk)
    dataset = build("data", compose([f"data={data}", f"data.validation={FEW[data]}"])[0].data)
    for split in ("train", "validation", "test"):
        images, labels = dataset.tensors(split)
        assert images.shape == (len(labels), *dataset.shape) and images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1
        assert set(labels.tolist()) == set(range(len(dataset.classes))), f"{split} lacks a class"
        assert torch.equal(labels, dataset.labels(split))


PAIRS = [(outliers, data) for outliers in names("outliers") for data in ("digits", "cifar10") if outliers != data]


@pytest.mark.parametrize(("outliers", "data"), PAIRS)
def test_outliers_are_images_of_the_data_s_shape(outliers, data, disk, monkeypatch):
    monkeypatch.chdir(disk)
    config = compose([f"data={data}", f"outliers={outliers}", f"data.validation={FEW[data]}"])[0]
    small = {key: value for key, value in (("count", 50), ("reserve", 5)) if key in config.outliers}
    dataset = build("data", config.data)
    source = build("outliers", config.outliers | small, data=dataset)
    source.ready()
    assert len(source) > 0
    for images in (source.images([(i, 0) for i in range(5)]), source.starts(range(5))):
        assert images.shape == (5, *dataset.shape)
        assert images.min() >= 0 and images.max() <= 1


def test_a_broken_method_is_found_out(monkeypatch):
    from harness.methods.at import AT

    monkeypatch.setattr(AT, "sample", lambda self, model, starts, labels, state, rng: starts + starts.mean())
    (run,) = harness.plan("method=at", "model.width=4")
    problems = [problem for _, problem in verdicts(run) if problem]
    assert any("samples" in problem for problem in problems)


def test_a_loss_that_looks_at_how_its_batch_is_shared_is_found_out(monkeypatch):
    from harness.methods.standard import Classify

    whole = Classify.loss

    def summed(stage, model, batch, state, share):
        loss = whole(stage, model, batch, state, share)
        return Loss({name: term * len(batch.labels["labelled"]) for name, term in loss.terms.items()})

    monkeypatch.setattr(Classify, "loss", summed)
    (run,) = harness.plan("method=standard", "model.width=4")
    problems = [problem for _, problem in verdicts(run) if problem]
    assert len(problems) == 1 and "split in two" in problems[0]
