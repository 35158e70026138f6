"""Outliers from any folder of images: which files are chosen, in which order, and which are left out."""

import on_disk
import pytest
import torch
from PIL import Image

from harness.core.errors import UserError
from harness.datasets.augment import Augment
from harness.datasets.cifar import CIFAR10
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers import folder as module
from harness.datasets.outliers.folder import Folder
from harness.datasets.outliers.openimages_labels import Labels
from harness.datasets.pictures import images_below

CIFAR = CIFAR10(outliers=Augment())
LABELS = Labels("oidv6-train-annotations-human-imagelabels.csv", "oidv6-class-descriptions.csv")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = on_disk.imagenet(tmp_path_factory.mktemp("folder"))
    on_disk.openimages(root / "photographs")
    return root


def folder(root, data=CIFAR, **fields):
    return Folder(data, **{"root": str(root / "photographs"), "cap": 15, "reserve": 6, **fields})


def keys(count):
    return [(index, 0) for index in range(count)]


def paths(outliers):
    return set(outliers._chosen.tolist())


def test_cap_and_reserve_take_parts_of_one_order(root):
    small, large, all_of_it = (folder(root, cap=cap) for cap in (5, 15, 300))
    assert (len(small), len(large), len(all_of_it)) == (5, 15, 24)
    assert torch.equal(small.starts(range(6)), large.starts(range(6)))
    assert torch.equal(small.images(keys(5)), large.images(keys(15))[:5])
    assert not torch.equal(folder(root, seed=1).starts(range(6)), large.starts(range(6)))


def test_the_order_does_not_follow_that_of_the_file_system(root, tmp_path, monkeypatch):
    expected = folder(root)._chosen.tolist()
    on_disk.openimages(tmp_path / "photographs")
    monkeypatch.setattr(module, "images_below", lambda root: sorted(images_below(root), key=lambda path: path[::-1]))
    assert folder(tmp_path)._chosen.tolist() == expected


def test_folders_named_like_a_class_or_an_excluded_name_are_left_out(tmp_path):
    picture = Image.new("RGB", (40, 40), "red")
    places = ("Dog", "dogs", "animals/TRUCK/big", "Great_white_shark", "pickup truck", ".")
    for number, place in enumerate(places):
        file = tmp_path / place / f"cat_{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)

    def left(**fields):
        found = paths(Folder(CIFAR, str(tmp_path), reserve=1, **fields))
        return {place for number, place in enumerate(places) if any(p.endswith(f"cat_{number}.png") for p in found)}

    assert left() == set(places) - {"Dog", "animals/TRUCK/big"}
    assert left(exclude_classes=False) == set(places)
    assert left(exclude_classes=False, exclude=("Pickup_Truck", "DOGS")) == set(places) - {"pickup truck", "dogs"}


@pytest.mark.parametrize("named", ["Great White Shark", "man-eater", "tench, Tinca tinca"])
def test_every_name_of_an_imagenet_class_counts(root, tmp_path, named):
    data = ImageNet(root=str(root), size=24)
    on_disk.openimages(tmp_path / "photographs", 8)
    (tmp_path / "photographs" / "train_1").rename(tmp_path / "photographs" / named)
    assert all(path.startswith("train_0/") for path in paths(folder(tmp_path, data, reserve=1)))


def numbers(outliers):
    return {int(path.split("/")[1].removesuffix(".jpg"), 16) for path in paths(outliers)}


def test_images_whose_human_labels_name_a_class_are_left_out(root):
    data = ImageNet(root=str(root), size=24)
    left = numbers(folder(root, data, labels=LABELS, reserve=1, cap=100))
    assert left == {i for i in range(30) if i % 4 in (0, 3)}, "tench and goldfish are classes, tree and house are not"
    assert numbers(folder(root, data, labels=LABELS, reserve=1, cap=100, exclude_classes=False)) == set(range(30))
    others = folder(root, labels=LABELS, reserve=1, cap=100, exclude=("HOUSE",))
    assert numbers(others) == {i for i in range(30) if i % 4 != 3}, "a denied label must exclude nothing"


@pytest.mark.parametrize("content", [None, "a,b\n1,2\n"])
def test_label_files_that_cannot_be_used_are_explained(tmp_path, content):
    on_disk.openimages(tmp_path / "photographs")
    table = tmp_path / "photographs" / LABELS.annotations
    table.unlink()
    if content:
        table.write_text(content)
    with pytest.raises(UserError) as caught:
        folder(tmp_path, labels=LABELS).ready()
    for part in (str(table), "ImageID, LabelName, Confidence", "https://storage", "outliers.labels=null"):
        assert part in str(caught.value)


def test_a_folder_that_is_missing_or_too_small_is_explained(tmp_path, root):
    with pytest.raises(UserError, match=f"A folder of images is expected at {tmp_path / 'photographs'}"):
        folder(tmp_path).ready()
    with pytest.raises(UserError, match=r"has 30 images .* outliers\.reserve=30 .* set outliers\.reserve to fewer"):
        folder(root, reserve=30).ready()
