"""A folder of class folders is a dataset: its shape, classes and splits are found, and a run keeps to its pictures."""

import os
import shutil

import numpy as np
import on_disk
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.core.errors import UserError
from harness.datasets import folder
from harness.datasets.folder import Folder
from harness.runs.compose import compose
from harness.runs.run import Run, load

SPLITS = ("train", "validation", "test")


def fresh():
    """Forget what this process has read, as another process would."""
    folder._read.cache_clear()


def composed(root, *more):
    return Run(*compose(["method=standard", "data=folder", f"data.root={root}", *more]))


def test_classes_shape_and_splits_are_found(tmp_path):
    data = Folder(root=str(on_disk.pictures(tmp_path)), validation=0.25, test=0.2)
    data.ready()
    assert (data.classes, data.shape) == (("apple", "pear", "plum"), (3, 12, 12))
    counts = {split: data.labels(split).bincount().tolist() for split in SPLITS}
    assert counts == {"train": [6] * 3, "validation": [2] * 3, "test": [2] * 3}
    everything = torch.cat([data.tensors(split)[0] for split in SPLITS])
    assert len(everything.unique(dim=0)) == 30, "each picture is in one split"
    pixels = np.asarray(Image.open(tmp_path / "pear" / "03.png")).transpose(2, 0, 1) / 255
    places = [(split, i) for split in SPLITS for i, x in enumerate(data.tensors(split)[0]) if np.allclose(x, pixels)]
    assert [int(data.labels(split)[i]) for split, i in places] == [1]


@given(validation=st.floats(0, 0.4), test=st.floats(0, 0.4), seed=st.integers(0, 99))
def test_the_splits_are_a_partition_in_these_shares(tmp_path_factory, validation, test, seed):
    root = tmp_path_factory.getbasetemp() / "shared"
    if not root.exists():
        on_disk.pictures(root, n=20)
    data = Folder(root=str(root), validation=validation, test=test, split_seed=seed)
    rows = [data.loaded(split)[2] for split in SPLITS]
    assert torch.cat(rows).sort().values.tolist() == list(range(60))
    assert len(rows[2]) == (max(round(60 * test), 3) if test else 0)
    assert len(rows[1]) == (max(round((60 - len(rows[2])) * validation), 3) if validation else 0)
    for of_split in rows:
        counts = data.loaded("test")[1][of_split].bincount(minlength=3)
        assert counts.max() - counts.min() <= 1, "stratified by class"


def test_folders_of_splits_are_kept(tmp_path):
    for part, n in (("train", 10), ("val", 4), ("test", 6)):
        on_disk.pictures(tmp_path / part, n=n)
    assert [Folder(root=str(tmp_path)).length(split) for split in SPLITS] == [30, 12, 18]
    shutil.rmtree(tmp_path / "test")
    fresh()
    assert [Folder(root=str(tmp_path), validation=0.2).length(split) for split in SPLITS] == [24, 6, 12]
    assert Folder(root=str(tmp_path / "train")).classes == ("apple", "pear", "plum")


def test_a_class_may_be_called_train(tmp_path):
    data = Folder(root=str(on_disk.pictures(tmp_path, ("bus", "train"))))
    assert data.classes == ("bus", "train")


@pytest.mark.parametrize("mode, channels", [("L", 1), ("RGB", 3), ("1", 1), ("P", 3)])
def test_images_are_grey_if_all_pictures_are(tmp_path, mode, channels):
    root = on_disk.pictures(tmp_path, mode=mode)
    assert Folder(root=str(root)).shape == (channels, 12, 12)
    on_disk.pictures(root, ("quince",))
    fresh()
    assert Folder(root=str(root)).shape == (3, 12, 12), "one colour is enough"


def test_pictures_of_several_sizes_need_a_side(tmp_path):
    root = on_disk.pictures(tmp_path)
    Image.new("RGB", (40, 20), "red").save(root / "plum" / "wide.jpg")
    with pytest.raises(UserError, match=r"wide\.jpg has 40 x 20 pixels, and .*00\.png has 12 x 12.*data\.side"):
        Folder(root=str(root)).ready()
    data = Folder(root=str(root), side=8)
    assert data.shape == (3, 8, 8)
    reds = torch.tensor([254.0, 0, 0]).view(3, 1, 1) / 255
    images = torch.cat([data.tensors(split)[0] for split in SPLITS])
    assert any(torch.allclose(image, reds.expand(3, 8, 8), atol=0.02) for image in images)


def test_pictures_may_be_no_squares(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.new("L", (9, 14), number).save(tmp_path / name / f"{number}.bmp")
    assert Folder(root=str(tmp_path)).shape == (1, 14, 9)


def recolour(root):
    file = root / "pear" / "03.png"
    Image.new("RGB", (12, 12), "red").save(file)


def rename(root):
    (root / "pear" / "03.png").rename(root / "pear" / "99.png")


def remove(root):
    (root / "pear" / "03.png").unlink()


@pytest.mark.parametrize("change", [recolour, rename, remove])
def test_a_run_goes_on_with_its_own_pictures_only(tmp_path, change):
    root = on_disk.pictures(tmp_path / "mine")
    run = composed(root, f"runs={tmp_path / 'runs'}")
    run.freeze()
    assert load(run.folder).data.length("train") == run.data.length("train")
    fresh()
    change(root)
    begun = load(run.folder)
    with pytest.raises(UserError, match="have changed since this run was begun"):
        begun.data.ready()
    with pytest.raises(UserError, match="have changed since this run was begun"):
        begun.data.view("train", "plain")
    assert composed(root, f"runs={tmp_path / 'runs'}").name != run.name


def test_the_name_follows_from_the_pictures_not_from_their_place(tmp_path):
    here = on_disk.pictures(tmp_path / "here")
    there, other = tmp_path / "there", on_disk.pictures(tmp_path / "other", ("apple", "pear"))
    shutil.copytree(here, there)
    assert composed(here).name == composed(there).name
    assert composed(here).config.data["name"] != composed(other).config.data["name"], "tables keep them apart"
    assert composed(here, "data.name=folder7").name.startswith("standard-folder7-")
    assert composed(here).data.notes["pictures"].endswith(composed(here).config.data["digest"])


def test_names_of_pictures_need_not_be_utf_8(tmp_path):
    root = on_disk.pictures(tmp_path)
    shutil.copy(root / "pear" / "03.png", os.fsencode(root / "pear") + b"/\xff.png")
    assert Folder(root=str(root)).labels("test").bincount().tolist() == [2] * 3


def test_they_are_bounded(tmp_path, monkeypatch):
    root = on_disk.pictures(tmp_path)
    monkeypatch.setattr(folder, "LARGEST", 30 * 3 * 12 * 12)
    Folder(root=str(root)).ready()
    fresh()
    monkeypatch.setattr(folder, "LARGEST", 30 * 3 * 12 * 12 - 1)
    with pytest.raises(UserError, match=r"30 pictures .*make them smaller by data\.side"):
        Folder(root=str(root)).ready()


def no_folder(root):
    shutil.rmtree(root)


def no_classes(root):
    shutil.rmtree(root / "pear")
    shutil.rmtree(root / "plum")


def an_empty_class(root):
    (root / "quince").mkdir()


def a_damaged_picture(root):
    (root / "plum" / "03.png").write_bytes(b"no picture")


def a_class_of_one(root):
    on_disk.pictures(root, ("quince",), n=1)


def a_split_of_another_name(root):
    for part in ("train", "valid"):
        on_disk.pictures(root / part)
    for name in ("apple", "pear", "plum"):
        shutil.rmtree(root / name)


def classes_of_one_split(root):
    on_disk.pictures(root / "train")
    on_disk.pictures(root / "test", ("apple", "quince"))
    for name in ("apple", "pear", "plum"):
        shutil.rmtree(root / name)


FAULTS = {
    no_folder: "Pictures are expected at .*<class>.*data.root",
    no_classes: "two class folders or more, and there are 1",
    an_empty_class: "quince holds no images",
    a_damaged_picture: "03.png cannot be read as an image",
    a_class_of_one: r"data\.test=0\.2 cannot be held out of 31 images",
    a_split_of_another_name: r"train/<class>/… and valid, where only test and val .*rename valid",
    classes_of_one_split: "must have the same class folders; only one has pear",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_explained(tmp_path, fault):
    root = on_disk.pictures(tmp_path / "mine")
    fault(root)
    with pytest.raises(UserError, match=FAULTS[fault]):
        Folder(root=str(root)).ready()
    with pytest.raises(UserError, match=FAULTS[fault]):
        composed(root).data.ready()
