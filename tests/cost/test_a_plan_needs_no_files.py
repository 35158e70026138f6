"""plan shows runs, stages, steps, prices and disk before data and weights are here, and what is missing; exit 0."""

import re

import on_disk
import pytest

import harness
from harness.cost.planned import Planned
from harness.runs.compose import compose


def plan(*overrides):
    (config,) = compose(overrides)
    return Planned(config)


def test_the_users_own_sentence_is_planned(type_, tmp_path):
    status, out, err = type_("plan", "method=atjem", "data=imagenet256", "-m")
    assert status == 0, err
    assert "atjem-imagenet256-s0-unknown" in out  # its name depends on the weights
    assert re.search(r"joint .* 12,414 .* 6,355,968", out)  # 5 epochs of 1,281,167 - 10,000 images
    assert "init=null, which trains the first stage here" in out
    missing = [line for line in out.splitlines() if line.startswith("Missing: ")]
    for part in ("ImageNet is expected at", "A folder of images is expected at", "resnet50_l2_eps3", "'inception'"):
        assert sum(part in line for line in missing) == 1, part
    assert list(tmp_path.iterdir()) == []
    status, _, err = type_("method=atjem", "data=imagenet256")
    assert status == 2 and "there is no such file" in err, "a run must refuse"


def test_only_one_way_is_priced_where_the_command_names_weights(type_):
    status, out, _ = type_("plan", "method=atjem", "data=imagenet256", "init=nowhere.pt")
    assert status == 0 and "init=null, which" not in out and "Missing: init=nowhere.pt: there is no such file" in out


@pytest.mark.parametrize(("data", "write"), [("cifar10", on_disk.cifar10), ("cifar100", on_disk.cifar100)])
def test_lengths_shapes_and_classes_are_those_of_the_files(data, write, tmp_path):
    absent = plan("method=at", f"data={data}", f"data.root={tmp_path / 'none'}").data
    assert [absent.length(split) for split in ("train", "validation", "test")] == [45_000, 5_000, 10_000]
    (config,) = compose(["method=at", f"data={data}", f"data.root={write(tmp_path)}", "data.validation=20"])
    present = Planned(config).data
    assert type(present).__name__ == {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}[data]
    assert present.shape == absent.shape and len(present.classes) == len(absent.classes)


@pytest.mark.parametrize(
    ("data", "published"),
    [(data, [60_000, 10_000, 10]) for data in ("mnist", "fashion_mnist", "kmnist")]
    + [("imagenet256", [1_281_167, 50_000, 1_000])],
)
def test_counts_are_the_published_ones(data, published, tmp_path):
    config = plan(f"data={data}", f"data.root={tmp_path}").config
    assert [config.customary[key] for key in ("train", "test", "classes")] == published


def test_the_name_of_a_run_is_the_one_it_gets_once_the_data_are_here(tmp_path):
    words = ("method=at", "data=cifar10", "data.validation=20", f"runs={tmp_path / 'runs'}")
    before = plan(*words, f"data.root={tmp_path / 'none'}")
    on_disk.cifar10(tmp_path), on_disk.cifar100(tmp_path)
    here = (f"data.root={tmp_path}", f"outliers.root={tmp_path}", "method.robust.training.batch=8")
    (after,) = harness.plan(*words, *here)
    changed = plan(*words, f"data.root={tmp_path / 'none'}", "method.robust.training.batch=8")
    assert changed.fingerprint == after.fingerprint != before.fingerprint


def test_a_probe_times_stand_ins(type_, tmp_path):
    tiny = ("model.depth=10", "model.widen=1", "method.robust.training.batch=2", "method.robust.attack.steps=1")
    status, out, err = type_("plan", "method=at", "data=cifar10", *tiny, "workers=0", "probe=true")
    assert status == 0, err
    assert re.search(r"robust-cifar10-s0-\w+ .* (at most )?[\d.e-]+ s, ", out.split("Estimated remaining cost")[0])


def test_what_is_wrong_and_not_missing_is_refused(type_, tmp_path):
    for words, message in (
        (("data=folder", f"data.root={tmp_path / 'none'}"), "Pictures are expected at"),
        (("data=cifar10", "method.robust.training.batch=46000"), "larger than the training split"),
        (("data=cifar10", "method=pretrained"), "needs weights"),
    ):
        status, _, err = type_("plan", "method=at", *words)
        assert status == 2 and message in err, words
