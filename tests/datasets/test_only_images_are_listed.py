"""Hidden files, archivers' copies and links that lead back up are no images; everything else is, in the same order."""

import os
from itertools import islice
from pathlib import Path

import on_disk
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from harness.core.errors import UserError
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers.folder import Folder
from harness.datasets.pictures import images_below

NO_DATA = ("._x.JPEG", ".x.png", ".ipynb_checkpoints/x.png", ".Trash/a/x.png", "__MACOSX/x.JPEG", "lost+found/x.png")


def clutter(folder):
    """Add what systems leave behind in a folder, and links that lead back up."""
    for name in NO_DATA:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40)).save(file)
    (folder / "here").symlink_to(".")
    (folder / "up").symlink_to(folder.parent)
    (folder / "itself").symlink_to("itself")


def everything(root):
    """The images of a folder as os.walk finds them, which follows all links."""
    for folder, _, names in os.walk(root, followlinks=True):
        found = (Path(folder, name).relative_to(root).as_posix() for name in names)
        yield from (name for name in found if name.lower().endswith(IMG_EXTENSIONS))


def first(root):
    """The first hundred images of a folder, sorted: there is no end of them where circles are followed."""
    return sorted(islice(images_below(root), 100))


NAMES = st.sampled_from(["a", "b.c", "d.JPG", "e.jpeg", "f.png", "notes.txt", "_MACOSX", "g.tar"])


@given(st.sets(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=12))
def test_folders_without_clutter_are_listed_as_before(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("plain")
    for path in sorted(paths, key=len, reverse=True):  # what is a folder already stays one
        if not (root / path).exists():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
    assert sorted(images_below(root)) == sorted(everything(root))


def test_links_to_other_disks_count_and_circles_end(tmp_path):
    root, disk = tmp_path / "above" / "images", tmp_path / "disk"
    for file in (root / "own" / "a.png", disk / "deep" / "b.png", tmp_path / "c.png"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (root / "linked").symlink_to(disk)
    (root / "twice").symlink_to(disk / "deep")
    (root / "file.png").symlink_to(tmp_path / "c.png")
    expected = ["file.png", "linked/deep/b.png", "own/a.png", "twice/b.png"]
    assert sorted(images_below(root)) == sorted(everything(root)) == expected
    for name, target in {"self": ".", "up": "..", "own/root": root, "own/further": tmp_path}.items():
        (root / name).symlink_to(target)
    (disk / "deep" / "back").symlink_to(root)  # a circle over two disks
    (disk / "deep" / "up").symlink_to(disk)
    assert first(root) == expected
    assert first(disk) == ["deep/b.png", "deep/back/file.png", "deep/back/own/a.png"]


def test_a_link_to_the_working_folder_is_no_circle(tmp_path, monkeypatch):
    for name in ("work", "images"):
        (tmp_path / name).mkdir()
    (tmp_path / "work" / "a.png").touch()
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    assert list(images_below(Path("..", "images"))) == ["linked/a.png"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match=r"closed cannot be listed \(Permission denied\): make it readable"):
        list(images_below(tmp_path))


def test_an_imagenet_with_clutter_has_the_same_images(tmp_path):
    plain, other = (ImageNet(root=str(on_disk.imagenet(tmp_path / name)), size=16) for name in ("plain", "other"))
    for part in ("train", "val"):
        clutter(tmp_path / "other" / part)
        clutter(tmp_path / "other" / part / on_disk.WNIDS[0])
    other.ready()
    assert other.classes == plain.classes
    for part in ("train", "test"):
        mine, theirs = plain._listing(part), other._listing(part)
        assert mine.names.tolist() == theirs.names.tolist() and mine.labels.tolist() == theirs.labels.tolist()


def test_outliers_of_a_folder_with_clutter_are_the_same(tmp_path):
    data = ImageNet(root=str(on_disk.imagenet(tmp_path / "imagenet")), size=16)
    plain, other = (
        Folder(data, str(on_disk.openimages(tmp_path / name / "photographs")), reserve=6) for name in ("plain", "other")
    )
    clutter(tmp_path / "other" / "photographs")
    clutter(tmp_path / "other" / "photographs" / "train_0")
    assert len(plain) == 24 and other._chosen.tolist() == plain._chosen.tolist()
