"""SVHN's files are read with upright pixels and separate train and test splits, and missing files are explained."""

import hashlib

import numpy as np
import on_disk
import pytest
import torch
import torchvision
from scipy.io import loadmat, savemat

from harness.core.errors import UserError
from harness.datasets.augment import Augment
from harness.datasets.cifar import CIFAR10
from harness.datasets.digits import Digits
from harness.datasets.outliers.svhn import SVHN

PLAIN = CIFAR10(outliers=Augment())


def svhn(root, **fields):
    return SVHN(PLAIN, root=str(root), **fields)


def test_images_are_those_that_torchvision_reads(tmp_path, monkeypatch):
    on_disk.svhn(tmp_path)
    for part, ours in (
        ("train", lambda n: svhn(tmp_path).images([(i, 0) for i in range(n)])),
        ("test", lambda n: svhn(tmp_path).starts(range(n))),
    ):
        digest = hashlib.md5((tmp_path / f"{part}_32x32.mat").read_bytes()).hexdigest()
        files = torchvision.datasets.SVHN.split_list
        monkeypatch.setitem(files, part, [files[part][0], files[part][1], digest])
        theirs = torch.from_numpy(torchvision.datasets.SVHN(tmp_path, part).data)
        assert torch.equal(ours(len(theirs)), theirs / 255)


def test_images_keep_their_colours_and_their_top(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:8, :, 0] = 255  # red at the top
    image[:, :8, 2] = 255  # blue on the left
    for part in ("train", "test"):
        content = {"X": np.stack([image, image, 255 - image], -1), "y": np.ones((3, 1), np.uint8)}
        savemat(tmp_path / f"{part}_32x32.mat", content)
    expected = torch.from_numpy(image).permute(2, 0, 1) / 255
    assert torch.equal(svhn(tmp_path).starts([1])[0], expected)
    assert torch.equal(svhn(tmp_path).images([(2, 0)])[0], 1 - expected)


def test_test_images_are_the_starts_and_training_images_are_trained_against(tmp_path):
    on_disk.svhn(tmp_path)
    outliers = svhn(tmp_path)
    test, train = (loadmat(tmp_path / f"{part}_32x32.mat")["X"] for part in ("test", "train"))
    assert len(outliers) == train.shape[-1] == 2 * test.shape[-1]
    assert np.array_equal(outliers.starts([3])[0].permute(1, 2, 0) * 255, test[..., 3])
    assert np.array_equal(outliers.images([(3, 0)])[0].permute(1, 2, 0) * 255, train[..., 3])


def test_images_take_the_shape_of_the_data(tmp_path):
    on_disk.svhn(tmp_path)
    assert SVHN(Digits(), root=str(tmp_path)).starts([0, 1]).shape == (2, 1, 8, 8)


def test_missing_files_are_explained(tmp_path):
    on_disk.svhn(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(UserError) as caught:
        svhn(tmp_path).ready()
    for part in (str(tmp_path), "test_32x32.mat is not there", "outliers.download=true", "ufldl.stanford.edu"):
        assert part in str(caught.value)


def test_only_missing_files_are_fetched_and_only_if_asked(tmp_path, monkeypatch):
    fetched = []

    def fetch(root, part, download):
        fetched.append((part, download))
        on_disk.svhn(tmp_path)

    monkeypatch.setattr(torchvision.datasets, "SVHN", fetch)
    on_disk.svhn(tmp_path)
    svhn(tmp_path, download=True).ready()
    assert fetched == []
    (tmp_path / "train_32x32.mat").unlink()
    svhn(tmp_path, download=True).ready()
    assert fetched == [("train", True)]


def test_files_that_cannot_be_fetched_are_explained(tmp_path, monkeypatch):
    def refuse(root, part, download):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets, "SVHN", refuse)
    with pytest.raises(UserError, match=r"could not be fetched \(Name or service not known\)\. Put .* by hand"):
        svhn(tmp_path, download=True).ready()


def damaged(kind, whole):
    contents = {
        "empty": b"",
        "cut off": whole[: len(whole) // 2],
        "cut off early": whole[:100],
        "a page": b"<html>" * 99,
    }
    return contents[kind]


@pytest.mark.parametrize("kind", ["empty", "cut off", "cut off early", "a page"])
def test_a_damaged_file_is_explained(tmp_path, kind):
    on_disk.svhn(tmp_path)
    file = tmp_path / "test_32x32.mat"
    file.write_bytes(damaged(kind, file.read_bytes()))
    with pytest.raises(UserError, match=r"test_32x32\.mat cannot be read as SVHN .* fetch it again"):
        svhn(tmp_path).starts([0])


@pytest.mark.parametrize("content", [{"Y": np.zeros(3)}, {"X": np.zeros((4, 32, 32, 3), np.uint8)}])
def test_a_file_of_something_else_is_explained(tmp_path, content):
    on_disk.svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", content)
    with pytest.raises(UserError, match="fetch it again"):
        svhn(tmp_path).starts([0])
