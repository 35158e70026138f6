"""Unreadable image files stop a run with their name, or are skipped and counted."""

import on_disk
import pytest
import torch
from PIL import Image

from harness.core.dataset import BadImage, OutlierView
from harness.core.errors import UserError
from harness.core.loader import Order, batches
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers.folder import Folder
from harness.datasets.pictures import open_rgb

DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "text": lambda content: b"<html>404</html>",
    "header": lambda content: content[:30] + bytes(len(content) - 30),
}


@pytest.fixture
def data(tmp_path):
    return ImageNet(root=str(on_disk.imagenet(tmp_path / "imagenet")), size=16, validation=0)


@pytest.fixture
def photographs(tmp_path):
    return on_disk.openimages(tmp_path / "photographs", 14)


def spoil(file, damage="truncated"):
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    return str(file)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_a_bad_image(tmp_path, damage):
    file = on_disk.imagenet(tmp_path, 1) / "train" / on_disk.WNIDS[0] / f"{on_disk.WNIDS[0]}_7.JPEG"
    assert open_rgb(file).mode == "RGB"
    spoil(file, damage)
    with pytest.raises(BadImage, match="cannot be read as an image") as caught:
        open_rgb(file)
    assert caught.value.path == file


def test_a_picture_too_large_to_be_one_is_a_bad_image(tmp_path, monkeypatch):
    Image.new("RGB", (50, 50)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImage, match="DecompressionBomb"):
        open_rgb(tmp_path / "bomb.png")


def source(kind, data, photographs):
    """A stream of images, its length, and the file of its item 5."""
    if kind == "data":
        wnid = on_disk.WNIDS[0]
        file = photographs.parent / "imagenet" / "train" / wnid / f"{wnid}_5.JPEG"
        return data.view("train", "labelled"), 24, file
    outliers = Folder(data, str(photographs), cap=10, reserve=4)
    return OutlierView(outliers), 10, photographs / str(outliers._chosen[4 + 5])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["data", "outliers"])
def test_training_stops_and_names_the_file_and_the_way_on(data, photographs, kind, workers):
    view, length, file = source(kind, data, photographs)
    spoil(file)
    with pytest.raises(UserError) as caught:
        list(batches(view, length, length, 0, 0, 1, workers))
    assert str(file) in str(caught.value)
    assert "on_bad_image=skip" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["data", "outliers"])
def test_training_goes_on_with_the_next_image_and_counts(data, photographs, kind, workers):
    view, length, file = source(kind, data, photographs)
    whole, labels = next(batches(view, length, length, 0, 0, 1))
    keys = next(iter(Order(length, length, 0, 0, 1)))
    place = [index for index, _ in keys].index(5)
    spoil(file)
    skipped = set()
    images, same = next(batches(view, length, length, 0, 0, 1, workers, "skip", skipped))
    assert skipped == {str(file)}
    assert torch.equal(same, labels)
    others = [i for i in range(length) if i != place]
    assert torch.equal(images[others], whole[others])
    stand_in, _ = view[(6, keys[place][1])]
    assert torch.equal(images[place], stand_in)


def test_starts_stop_or_go_on_as_well(data, photographs):
    outliers = Folder(data, str(photographs), cap=10, reserve=4)
    first = outliers.starts(range(4))
    file = spoil(photographs / str(outliers._chosen[1]))
    with pytest.raises(UserError, match="on_bad_image=skip") as caught:
        outliers.starts(range(4))
    assert file in str(caught.value)
    lenient = Folder(data, str(photographs), cap=10, reserve=4, on_bad_image="skip")
    starts = lenient.starts(range(4))
    assert torch.equal(starts[[0, 2, 3]], first[[0, 2, 3]])
    assert torch.equal(starts, lenient.starts(range(4)))
    for path in lenient._chosen[:4]:
        spoil(photographs / str(path), "empty")
    with pytest.raises(UserError, match="Not one of the 4 images"):
        lenient.starts([0])
