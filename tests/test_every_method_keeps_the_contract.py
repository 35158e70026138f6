"""Every method and dataset that stands in its folder keeps the contract; a new one is tested without a new test."""

import pytest
import torch

import harness
from harness.checkpoint import save_tensors
from harness.contract import verdicts
from harness.models.digits import Digits as DigitsNet
from harness.registry import names

DATASETS = list(names("data"))
METHODS = list(names("method"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Initial weights, for a method that trains none."""
    path = tmp_path_factory.mktemp("weights") / "digits.safetensors"
    save_tensors(path, DigitsNet(10, 1, 4, "batch", "relu").state_dict())
    return [f"init={path}", "init_accuracy=0"]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_keeps_every_promise(method, weights):
    given = weights if method == "pretrained" else []
    (run,) = harness.plan(f"method={method}", "model.width=4", "outliers.count=100", *given)
    for promise, problem in verdicts(run):
        assert problem is None, f"{promise}: {problem}"


@pytest.mark.parametrize("data", DATASETS)
def test_a_dataset_gives_what_it_says(data):
    dataset = harness.plan(f"data={data}")[0].data
    for split in ("train", "validation", "test"):
        images, labels = dataset.tensors(split)
        assert images.shape == (len(labels), *dataset.shape) and images.dtype == torch.float32
        assert images.min() >= 0 and images.max() <= 1
        assert set(labels.tolist()) == set(range(len(dataset.classes))), f"{split} lacks a class"
        assert torch.equal(labels, dataset.labels(split))


@pytest.mark.parametrize("outliers", names("outliers"))
def test_outliers_are_images_of_the_data_s_shape(outliers):
    from harness.build import outliers as build

    (run,) = harness.plan(f"outliers={outliers}", "outliers.count=50")
    source = build(run)
    for images in (source.images([(i, 0) for i in range(5)]), source.starts(range(5))):
        assert images.shape == (5, *run.data.shape)
        assert images.min() >= 0 and images.max() <= 1
    assert len(source) == 50


def test_a_broken_method_is_found_out(monkeypatch):
    from harness.methods.at import AT

    monkeypatch.setattr(AT, "sample", lambda self, model, starts, labels, state, rng: starts + starts.mean())
    (run,) = harness.plan("method=at", "model.width=4")
    problems = [problem for _, problem in verdicts(run) if problem]
    assert any("samples" in problem for problem in problems)
