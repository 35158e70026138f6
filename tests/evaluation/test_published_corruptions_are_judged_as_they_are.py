"""Files of CIFAR-10-C and ImageNet-C, in their published formats, are judged in place of generated images."""

from pathlib import Path

import numpy as np
import on_disk
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.functional import to_tensor

from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.registry import find, make
from harness.datasets.cifar import CIFAR10
from harness.datasets.imagenet import ImageNet
from harness.evaluation.corrupt import CORRUPTIONS, SEVERITIES
from harness.evaluation.corrupted_files import ALEXNET
from harness.evaluation.metric import Subject

CPU = torch.device("cpu")
SIDE = 24


def metric(root, **changes):
    fields = {"split": "test", "corruptions": ["fog", "snow"], "constants": "cifar", "seed": 0, "files": "CIFAR-10-C"}
    return make(find("metric", "corruptions"), "protocol.metrics.corruptions", {**fields, "root": str(root), **changes})


def subject(data):
    torch.manual_seed(0)
    pixels = int(np.prod(data.shape))
    net = nn.Sequential(nn.Flatten(), nn.Linear(pixels, len(data.classes)))
    return Subject(EnergyModel(net, [0.5] * 3, [0.5] * 3).eval(), data, CPU, samples=None, cache=None)


def parts(how, of):
    how.ready(of.data, None, {})
    return [how.score(of, shard) for shard in range(how.shards(of))]


@pytest.fixture
def cifar(tmp_path):
    """CIFAR-10 with 50 test images, and two arrays of CIFAR-10-C."""
    data = CIFAR10(root=str(on_disk.cifar10(tmp_path)), validation=10)
    folder, rng = tmp_path / "CIFAR-10-C", np.random.default_rng(0)
    folder.mkdir()
    for name in ("fog", "snow"):
        np.save(folder / f"{name}.npy", rng.integers(0, 256, (250, 32, 32, 3), np.uint8))
    np.save(folder / "labels.npy", np.tile(data.labels("test").numpy(), 5).astype(np.uint8))
    return data, folder


def test_arrays_are_judged_severity_by_severity(cifar):
    data, folder = cifar
    how, of = metric(folder.parent), subject(data)
    result = how.merge(of, parts(how, of))
    for name in ("fog", "snow"):
        x = torch.from_numpy(np.load(folder / f"{name}.npy")).permute(0, 3, 1, 2).float() / 255
        right = of.model(x).argmax(1) == torch.from_numpy(np.load(folder / "labels.npy"))
        for severity in SEVERITIES:
            outcomes = "".join(str(int(flag)) for flag in right[50 * (severity - 1) : 50 * severity])
            assert result.outcomes[f"corrupted/{name}/{severity}"] == outcomes
        assert result.scores[f"corrupted_accuracy/{name}"].value == pytest.approx(100 * float(right.double().mean()))
    assert result.scores["corrupted_accuracy"].title == "CIFAR-10-C accuracy (2 of 15)"
    assert result.scores.keys() == set(how.keys(data)) and "mce" not in result.scores


def test_missing_files_are_named_with_the_page_that_has_them(cifar):
    data, folder = cifar
    (folder / "snow.npy").unlink()
    with pytest.raises(UserError) as told:
        metric(folder.parent).ready(data, None, {})
    for part in ("snow.npy", "https://zenodo.org/records/2535967", "protocol.metrics.corruptions.root=FOLDER"):
        assert part in str(told.value)
    assert metric(folder.parent).missing({})[0] in str(told.value)
    assert metric(folder.parent, files=None, corruptions=["fog"]).missing({}) == []


def test_files_of_other_images_are_refused(cifar):
    data, folder = cifar
    how, labels = metric(folder.parent), np.load(folder / "labels.npy")
    np.save(folder / "labels.npy", labels[::-1])
    with pytest.raises(UserError, match="does not have the labels of the test split"):
        how.ready(data, None, {})
    np.save(folder / "labels.npy", labels[:-1])
    with pytest.raises(UserError, match="does not have the labels of the test split"):
        how.ready(data, None, {})
    np.save(folder / "labels.npy", labels)
    np.save(folder / "fog.npy", np.zeros((200, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="200 x 32 x 32 x 3, not bytes of 250 x 32 x 32 x 3"):
        how.ready(data, None, {})


def test_damaged_arrays_are_refused_and_nothing_in_them_is_executed(cifar):
    data, folder = cifar
    how, content = metric(folder.parent), (folder / "fog.npy").read_bytes()
    (folder / "fog.npy").write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"fog\.npy cannot be read as an array"):
        how.ready(data, None, {})
    np.save(folder / "fog.npy", np.array([Path], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"fog\.npy cannot be read as an array"):
        how.ready(data, None, {})


@pytest.fixture
def imagenet(tmp_path):
    """ImageNet with 4 test images of each of 3 classes, and ImageNet-C of as many pictures."""
    root, rng = on_disk.imagenet(tmp_path), np.random.default_rng(0)
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            for original in (root / "val").glob("*/*"):
                path = root / "ImageNet-C" / name / str(severity) / original.parent.name / original.name
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path, "JPEG")
    return root


def test_pictures_are_judged_without_a_second_crop_and_have_an_mce(imagenet):
    how = metric(imagenet, files="ImageNet-C", corruptions=list(CORRUPTIONS))
    of = subject(ImageNet(root=str(imagenet), size=SIDE, validation=6))
    result = how.merge(of, parts(how, of))
    errors = []
    for name in CORRUPTIONS:
        wrong = []
        for severity in SEVERITIES:
            paths = sorted((imagenet / "ImageNet-C" / name / str(severity)).glob("*/*"))
            x = torch.stack([to_tensor(Image.open(path)) for path in paths])
            wrong += (of.model(x).argmax(1) != torch.tensor([0] * 4 + [1] * 4 + [2] * 4)).tolist()
        errors.append(np.mean(wrong) / ALEXNET[name])
    assert result.scores["mce"].value == pytest.approx(100 * np.mean(errors))
    assert result.scores["mce"].better == "lower"
    assert result.scores["corrupted_accuracy"].title == "ImageNet-C accuracy"
    assert not result.scores["mce"].warnings
    assert result.scores.keys() == set(how.keys(of.data))
    assert {len(bits) for bits in result.outcomes.values()} == {12} and len(result.outcomes) == 75


def test_resized_pictures_have_a_dagger_and_missing_ones_are_refused(imagenet):
    data = ImageNet(root=str(imagenet), size=16, validation=6)
    how, of = metric(imagenet, files="ImageNet-C"), subject(data)
    scores = how.merge(of, parts(how, of)).scores
    for score in scores.values():
        assert score.warnings == [f"pictures of {SIDE} x {SIDE} pixels were resized to those of the data"]
    assert "mce" not in scores, "two corruptions have none"
    next((imagenet / "ImageNet-C" / "brightness" / "4").glob("*/*")).unlink()
    with pytest.raises(UserError, match="brightness/4 does not have the labels of the test split"):
        metric(imagenet, files="ImageNet-C", corruptions=["brightness"]).ready(data, None, {})


# Accuracy and corruption error, in %, of torchvision's ResNet-50, as reported by others.
RESNET50 = {
    "brightness": (68.02, 56.64),
    "contrast": (39.06, 71.43),
    "defocus_blur": (38.75, 74.71),
    "elastic_transform": (45.25, 84.75),
    "fog": (45.83, 66.11),
    "frost": (38.14, 74.84),
    "gaussian_noise": (29.29, 79.77),
    "glass_blur": (26.79, 88.61),
    "impulse_noise": (23.81, 82.58),
}


def test_errors_are_in_units_of_the_published_ones():
    assert ALEXNET.keys() == set(CORRUPTIONS)
    for name, (accuracy, error) in RESNET50.items():
        assert (100 - accuracy) / ALEXNET[name] == pytest.approx(error, abs=0.011)
