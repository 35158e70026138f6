"""Fashion-MNIST, MNIST and KMNIST are read from IDX files as torchvision reads them, wherever they may be."""

import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import commandline
import on_disk
import pytest
import torch
import torchvision

from harness.core.errors import UserError
from harness.datasets import fashion_mnist, idx, kmnist, mnist
from harness.datasets.fashion_mnist import FashionMNIST
from harness.datasets.kmnist import KMNIST
from harness.datasets.mnist import MNIST
from harness.datasets.outliers import mnist as outliers

KINDS = {FashionMNIST: fashion_mnist.FILES, MNIST: mnist.FILES, KMNIST: kmnist.FILES}
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder with a few images of each dataset, which are the originals as long as a test lasts."""
    for files in KINDS.values():
        on_disk.idx(tmp_path, files, monkeypatch)
    return tmp_path


def raw(root):
    return root / "FashionMNIST" / "raw"


def gunzip(folder):
    for file in folder.glob("*.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_read_as_torchvision_reads_them(root, kind):
    data = kind(root=str(root), validation=0)
    data.ready()
    gunzip(root / kind.files.name / "raw")
    for split in ("train", "test"):
        expected = getattr(torchvision.datasets, kind.files.name)(root, train=split == "train")
        images, labels = data.tensors(split)
        assert torch.equal(images, expected.data[:, None] / 255)
        assert torch.equal(labels, expected.targets) and torch.equal(labels, data.labels(split))


def test_a_validation_split_is_held_out_by_class_and_seed(root):
    def parts(seed):
        data = FashionMNIST(root=str(root), validation=20, split_seed=seed)
        return {split: data.tensors(split)[0].flatten(1).tolist() for split in ("train", "validation")}, data

    (first, data), (again, _), (other, _) = parts(0), parts(0), parts(1)
    assert first == again != other
    assert data.labels("validation").bincount().tolist() == [2] * 10
    whole = FashionMNIST(root=str(root), validation=0).tensors("train")[0].flatten(1).tolist()
    assert sorted(first["train"] + first["validation"]) == sorted(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_known_needs_no_files(tmp_path, kind):
    data = kind(root=str(tmp_path))
    lengths = [data.length(split) for split in ("train", "validation", "test")]
    assert lengths == [idx.COUNTS["train"] - 5000, 5000, idx.COUNTS["test"]]
    assert data.shape == (1, 28, 28) and len(data.classes) == 10
    assert not list(tmp_path.iterdir())


def test_the_lengths_are_those_of_the_files(root):
    for check in (True, False):
        data = FashionMNIST(root=str(root), validation=20, check=check)
        assert all(data.length(split) == len(data.labels(split)) for split in ("train", "validation", "test"))


def test_the_files_may_lie_in_the_folder_itself_gzipped_or_not(root):
    there = FashionMNIST(root=str(root)).part("train")
    shutil.copytree(raw(root), root / "flat")
    gunzip(root / "flat")
    for leave in ("*.gz", "*ubyte"):
        shutil.copytree(root / "flat", root / leave[-3:])
        for file in (root / leave[-3:]).iterdir():
            if not file.match(leave):
                file.unlink()
        here = FashionMNIST(root=str(root / leave[-3:])).part("train")
        assert all(map(torch.equal, here, there))


def test_those_of_debian_are_found_without_a_setting_and_never_in_place_of_a_root(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "MNIST")
    package = ("dataset-fashion-mnist", str(raw(root)))
    monkeypatch.setattr(FashionMNIST, "files", replace(fashion_mnist.FILES, package=package))
    FashionMNIST().ready()
    with pytest.raises(UserError, match=f"data.root={raw(root)} reads"):
        FashionMNIST(root=".").ready()
    FashionMNIST(root=str(raw(root))).ready()
    assert FashionMNIST(root=str(root)).files._folder(str(root)) == raw(root), "what the root holds comes first"


def test_missing_files_are_explained_before_training(tmp_path):
    status, _, told = commandline.harness("data=fashion_mnist", "data.root=elsewhere", folder=tmp_path)
    assert status == 2
    for part in (
        "apt-get install dataset-fashion-mnist",
        "data.root=/usr/share/datasets/fashion-mnist",
        "data.download=true",
        str(tmp_path / "elsewhere"),
        "data.root",
    ):
        assert part in told
    status, told, _ = commandline.harness("plan", "data=kmnist", folder=tmp_path)
    assert status == 0 and "data.download=true" in told and "apt-get" not in told
    assert not list(tmp_path.iterdir()), "nothing may be written"


def test_they_are_fetched_once_and_only_if_asked(root, tmp_path, monkeypatch):
    fetched = []

    def fetch(folder, download):
        fetched.append(download)
        shutil.copytree(root / "MNIST", Path(folder) / "MNIST")

    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    data = MNIST(root=str(tmp_path / "new"), download=True)
    data.ready()
    data.ready()
    assert fetched == [True]

    def refuse(folder, download):
        raise RuntimeError("no mirror answers")

    monkeypatch.setattr(torchvision.datasets, "KMNIST", refuse)
    with pytest.raises(UserError, match=r"could not be fetched \(no mirror answers\)\. Fetch the four files by hand"):
        KMNIST(root=str(tmp_path / "new"), download=True).ready()


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)


def test_a_changed_file_is_refused_unless_others_are_accepted(root):
    file = raw(root) / "t10k-images-idx3-ubyte.gz"
    flip_a_bit(file)
    with pytest.raises(UserError, match=r"t10k-images.* is not the original of FashionMNIST: it has the md5"):
        FashionMNIST(root=str(root)).ready()
    FashionMNIST(root=str(root), check=False).ready()
    flip_a_bit(root / "MNIST" / "raw" / file.name)
    with pytest.raises(UserError, match=r"original of MNIST.*outliers\.download=true"):
        outliers.MNIST(FashionMNIST(root=str(root)), root=str(root)).ready()


def test_files_of_the_same_content_are_the_originals_too(root):
    """As Debian's, whose gzip headers lack the name and the time, and as those that are not compressed."""
    folder, files = raw(root), fashion_mnist.FILES
    gunzip(folder)
    for file in folder.glob("*.gz"):
        file.unlink()
    with pytest.raises(UserError, match="has the md5"):
        FashionMNIST(root=str(root)).ready()
    same = {f"{file.name}.gz": (on_disk._md5(file),) for file in folder.iterdir()}
    replace(files, same=same).check(str(root), "data")


def cut(content):
    return content[:-1]


def other_type(content):
    return content[:2] + b"\x09" + content[3:]


def one_image_less(content):
    count = int.from_bytes(content[4:8], "big") - 1
    return content[:4] + count.to_bytes(4, "big") + content[8:-784]


def empty(content):
    return b""


@pytest.mark.parametrize(
    "change, problem",
    [
        (cut, "no whole IDX file"),
        (other_type, "no whole IDX file"),
        (empty, "no whole IDX file"),
        (one_image_less, "99 x 28"),
    ],
)
def test_a_damaged_file_is_named(root, change, problem):
    file = raw(root) / "train-images-idx3-ubyte.gz"
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()))))
    with pytest.raises(UserError, match=f"train-images-idx3-ubyte.*{problem}"):
        FashionMNIST(root=str(root), check=False).labels("train")


def test_a_file_that_is_no_gzip_is_named(root):
    for content in (b"<html>", (raw(root) / "train-labels-idx1-ubyte.gz").read_bytes()[:-10]):
        (raw(root) / "train-labels-idx1-ubyte.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\.gz cannot be read"):
            FashionMNIST(root=str(root), check=False).labels("train")


def test_labels_that_no_class_has_are_refused(root):
    file = raw(root) / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes())[:-1] + b"\x0a"))
    with pytest.raises(UserError, match=r"The labels in .*t10k-labels.* are 0 to 10, where 0 to 9"):
        FashionMNIST(root=str(root), check=False).labels("test")


REAL = """
import json
from harness.datasets.fashion_mnist import FashionMNIST
data = FashionMNIST(validation=0)
data.ready()
(images, labels), (test, of_test) = data.tensors("train"), data.tensors("test")
print(json.dumps([
    labels.bincount().tolist(), of_test.bincount().tolist(), images.shape, test.shape,
    float(images.double().mean()), float(images.double().std()), data.classes[labels[0]], data.classes[of_test[0]],
]))
"""


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_ones_pass_and_have_the_mean_and_std_that_the_config_says(tmp_path):
    """In a process of its own, where nothing else counts as the originals."""
    done = subprocess.run([sys.executable, "-c", REAL], cwd=tmp_path, capture_output=True, text=True, check=True)
    train, test, images, of_test, mean, std, first, first_of_test = json.loads(done.stdout)
    assert (train, test) == ([6000] * 10, [1000] * 10)
    assert (images, of_test) == ([60_000, 1, 28, 28], [10_000, 1, 28, 28])
    assert (round(mean, 4), round(std, 4)) == (0.2860, 0.3530)
    assert (first, first_of_test) == ("Ankle boot", "Ankle boot"), "as at the head of the published files"
