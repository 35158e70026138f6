"""Outliers contain nothing that is excluded; starts are fixed and never used in training."""

import on_disk
import pytest
import torch
from omegaconf import OmegaConf

from harness.core.dataset import OutlierView
from harness.core.errors import UserError
from harness.core.loader import batches
from harness.core.registry import build, configs, names
from harness.datasets.augment import Augment
from harness.datasets.cifar import CIFAR10, CIFAR100, STRONG
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers import cifar
from harness.datasets.outliers.folder import Folder
from harness.datasets.outliers.noise import Noise
from harness.datasets.outliers.svhn import SVHN
from harness.datasets.outliers.tinyimages import TinyImages

CIFAR = CIFAR10(outliers=Augment())
"""Data whose outliers are not augmented, so that they can be recognised."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("outliers")
    on_disk.svhn(on_disk.cifar100(on_disk.cifar10(on_disk.tinyimages(root))))
    on_disk.openimages(root / "photographs")
    return on_disk.imagenet(root)


def folder(root, data=CIFAR, **fields):
    return Folder(data, **{"root": str(root / "photographs"), "cap": 15, "reserve": 6, **fields})


def tiny(root, data=CIFAR, **fields):
    return TinyImages(data, **{"root": str(root), "reserve": 20, **fields})


def cifar100(root, data=CIFAR, **fields):
    return cifar.CIFAR100(data, root=str(root), **fields)


def svhn(root, data=CIFAR, **fields):
    return SVHN(data, root=str(root), **fields)


def noise(root, data=CIFAR, **fields):
    return Noise(data, count=40)


SOURCES = [noise, folder, tiny, cifar100, svhn]
LENGTHS = {noise: 40, folder: 15, tiny: 40, cifar100: 192, svhn: 30}
STARTS = {noise: 30, folder: 6, tiny: 20, cifar100: 100, svhn: 15}


def keys(count):
    return [(index, 1000 + index) for index in range(count)]


def rows(images):
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("source", SOURCES)
def test_outliers_are_images_of_the_data_s_shape(root, source):
    for data in (CIFAR10(), ImageNet(root=str(root), size=24)):
        outliers = source(root, data)
        outliers.ready()
        for images in (outliers.images(keys(5)), outliers.starts(range(5))):
            assert images.shape == (5, *data.shape)
            assert images.dtype == torch.float
            assert 0 <= images.min() < images.max() <= 1


@pytest.mark.parametrize("source", SOURCES)
def test_starts_are_fixed_and_never_trained_against(root, source):
    outliers, again = source(root), source(root)
    assert len(outliers) == LENGTHS[source]
    trained, starts = outliers.images(keys(len(outliers))), outliers.starts(range(STARTS[source]))
    assert torch.equal(starts, again.starts(range(STARTS[source])))
    assert torch.equal(outliers.starts([3, 1]), starts[[3, 1]]), "each must depend only on its index"
    assert len(rows(trained)) == len(trained), "each image must occur once"
    assert len(rows(starts)) == len(starts)
    assert not rows(trained) & rows(starts)


@pytest.mark.parametrize("source", [folder, tiny, cifar100, svhn])
def test_there_are_as_many_starts_as_are_asked_for_each_augmented_in_its_own_way(root, source):
    outliers, augmented = source(root), source(root, CIFAR10())
    count = STARTS[source]
    assert torch.equal(outliers.starts([count + 2]), outliers.starts([2])), "the images must start over"
    starts = augmented.starts([2 + count * i for i in range(8)])
    assert len(rows(starts)) > 1
    assert torch.equal(starts, source(root, CIFAR10()).starts([2 + count * i for i in range(8)]))


@pytest.mark.parametrize("source", SOURCES)
def test_starts_are_augmented_for_the_branch_that_is_asked_for(root, source):
    strongly = source(root, CIFAR10(outliers=STRONG))
    assert torch.equal(strongly.starts(range(5), "plain"), source(root).starts(range(5)))
    assert torch.equal(strongly.starts(range(5), "outliers"), strongly.starts(range(5)))


@pytest.mark.parametrize("source", [folder, tiny, cifar100, svhn])
def test_training_outliers_are_augmented_by_their_key(root, source):
    plain, augmented = source(root), source(root, CIFAR10())
    image = (plain.images([(4, 0)])[0] * 255).round().to(torch.uint8)
    for seed in range(5):
        assert torch.equal(augmented.images([(4, seed)])[0], Augment(crop=4, flip=True)(image, seed))


@pytest.mark.parametrize("source", SOURCES)
def test_the_number_of_workers_changes_nothing(root, source):
    outliers = source(root, CIFAR10())
    alone, shared = (list(batches(OutlierView(outliers), len(outliers), 8, 3, 1, 4, n)) for n in (0, 2))
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(alone, shared, strict=True))


def test_cifar_100_without_what_looks_like_cifar_10(root):
    images, labels = CIFAR100(root=str(root), validation=0).tensors("train")
    near = [CIFAR100().classes.index(name) for name in ("pickup_truck", "bus", "streetcar", "tractor")]
    outliers = cifar100(root)
    lawful = images[~torch.isin(labels, torch.tensor(near))]
    assert torch.equal(outliers.images(keys(len(outliers))), lawful)
    assert len(cifar100(root, exclude=())) == 200
    assert torch.equal(outliers.starts(range(100)), CIFAR100(root=str(root)).tensors("test")[0])


def test_cifar_10_for_cifar_100(root):
    outliers = cifar.CIFAR10(CIFAR100(outliers=Augment()), root=str(root))
    assert torch.equal(outliers.images(keys(100)), CIFAR10(root=str(root), validation=0).tensors("train")[0])


def test_data_are_no_outliers_of_themselves_and_classes_are_known_by_name():
    with pytest.raises(UserError, match="CIFAR10 is the data itself"):
        build("outliers", {"name": "cifar10"}, data=CIFAR10())
    with pytest.raises(UserError, match="no class 'truk'"):
        build("outliers", {"name": "cifar10", "exclude": ["truk"]}, data=CIFAR100())


def test_a_missing_archive_is_explained_for_outliers(tmp_path):
    with pytest.raises(UserError, match=r"cifar-100-python, .* Add outliers\.download=true"):
        cifar100(tmp_path).ready()


@pytest.mark.parametrize("name", ["noise", "folder", "tinyimages", "cifar100", "cifar10", "svhn"])
def test_the_config_says_what_the_class_does_by_default(name):
    data = CIFAR100() if name == "cifar10" else CIFAR10()
    config = OmegaConf.to_container(OmegaConf.load(configs("outliers") / f"{name}.yaml"))["outliers"]
    given = {key: config[key] for key in ("root", "labels") if key in config}
    assert name in names("outliers")
    assert build("outliers", config, data=data) == build("outliers", {"name": name, **given}, data=data)
