"""CIFAR's, SVHN's and ImageNet's files are the published ones, or `ready` names what is wrong and what to type."""

import pickle
import shutil
from pathlib import Path

import on_disk
import pytest

from harness.core.errors import UserError
from harness.datasets import originals
from harness.datasets.cifar import ARCHIVE_10, ARCHIVE_100, CIFAR10, CIFAR100
from harness.datasets.digits import Digits
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers import cifar as outliers
from harness.datasets.outliers.svhn import CHECKSUMS, SVHN
from harness.launch.preflight import check_all
from harness.runs.compose import compose
from harness.runs.run import Run


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def fewer(file):
    batch = pickle.loads(file.read_bytes(), encoding="latin1")
    batch |= {key: batch[key][:3] for key in ("data", "labels")}
    file.write_bytes(pickle.dumps(batch))


def train_again(file):
    shutil.copy(file.parent / "data_batch_1", file)


CHANGES = {flip_a_bit: "has the md5 [0-9a-f]{32}, not", fewer: "has the md5", train_again: "is a copy of data_batch_1"}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_of_cifar_is_named_before_training(tmp_path, monkeypatch, change):
    on_disk.cifar10(tmp_path / "data")
    data = CIFAR10(root=str(tmp_path / "data"))
    data.ready()
    change(tmp_path / "data" / "cifar-10-batches-py" / "test_batch")
    monkeypatch.chdir(tmp_path)
    for look in (data.ready, lambda: check_all([Run(*compose(["method=at", "data=cifar10"]))])):
        with pytest.raises(UserError, match=f"test_batch is not the original of CIFAR10: it {CHANGES[change]}") as told:
            look()
        assert "data.download=true" in str(told.value) and "data.check=false" in str(told.value)


def test_a_private_variant_passes_and_says_so(tmp_path):
    on_disk.cifar10(tmp_path)
    flip_a_bit(tmp_path / "cifar-10-batches-py" / "test_batch")
    private = CIFAR10(root=str(tmp_path), check=False)
    private.ready()
    note = "they were neither compared with the published originals nor searched for copies (data.check=false)"
    assert private.notes == {"files": note}
    assert CIFAR10().notes == Digits().notes == {}


def test_the_check_is_part_of_a_name_only_where_it_is_off():
    names = {Run(*compose(["method=at", "data=cifar10", *more])).name for more in ([], ["data.check=true"])}
    (config,) = compose(["method=at", "data=cifar10"])
    names.add(Run(type(config)(**{**vars(config), "data": config.data | {"check": True}})).name)
    del config.data["check"]
    assert names == {Run(config).name}
    assert names != {Run(*compose(["method=at", "data=cifar10", "data.check=false"])).name}


@pytest.mark.parametrize("labels", [range(1, 11), range(-1, 9)])
def test_labels_that_no_class_has_are_refused_even_of_a_private_variant(tmp_path, labels):
    on_disk.cifar10(tmp_path)
    file = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    batch = pickle.loads(file.read_bytes(), encoding="latin1")
    file.write_bytes(pickle.dumps(batch | {"labels": [labels[label] for label in batch["labels"]]}))
    with pytest.raises(UserError, match=r"The labels in .*data_batch_2.* where 0 to 9 are expected"):
        CIFAR10(root=str(tmp_path), check=False).labels("train")


def test_the_files_of_outliers_are_checked_as_the_data_say(tmp_path):
    on_disk.svhn(on_disk.cifar100(tmp_path))
    for of_train in (tmp_path / "cifar-100-python" / "train", tmp_path / "train_32x32.mat"):
        flip_a_bit(of_train)
    for kind, name in ((outliers.CIFAR100, "CIFAR100"), (SVHN, "SVHN")):
        with pytest.raises(UserError, match=rf"is not the original of {name}.*outliers\.download=true"):
            kind(CIFAR10(), root=str(tmp_path)).ready()
        kind(CIFAR10(check=False), root=str(tmp_path)).ready()


def test_a_file_is_read_once_unless_it_changes(tmp_path, monkeypatch):
    on_disk.cifar10(tmp_path)
    files, read = sorted((tmp_path / "cifar-10-batches-py").glob("*_batch*")), []
    digest = originals.hashlib.file_digest
    monkeypatch.setattr(
        originals.hashlib, "file_digest", lambda stream, how: read.append(Path(stream.name)) or digest(stream, how)
    )
    for _ in range(3):
        CIFAR10(root=str(tmp_path)).ready()
    assert sorted(read) == files
    flip_a_bit(files[0])
    with pytest.raises(UserError, match="data_batch_1"):
        CIFAR10(root=str(tmp_path)).ready()


def test_the_published_checksums_cover_every_file():
    for archive, count in ((ARCHIVE_10, 6), (ARCHIVE_100, 2)):
        assert len(archive.train | archive.test) == count
        assert all(len(md5) == 32 for md5 in (*archive.train.values(), *archive.test.values()))
    assert {len(md5) for md5 in CHECKSUMS.values()} == {32}
    assert CIFAR100.archive is ARCHIVE_100


@pytest.fixture
def photographs(tmp_path):
    """The folder of an ImageNet of 3 classes, with 8 training images each; its counts are the original's."""
    return on_disk.imagenet(tmp_path)


def test_an_imagenet_with_the_original_s_counts_passes(photographs):
    ImageNet(root=str(photographs)).ready()


def one_less(root):
    next((root / "val").glob("*/*")).unlink()


def a_class_less(root):
    for part in ("train", "val"):
        shutil.rmtree(root / part / on_disk.WNIDS[2])


def val_is_train(root):
    for file in (root / "val").glob("*/*"):
        shutil.copy(root / "train" / file.parent.name / file.name, file)


def one_image_over_and_over(root):
    files = sorted((root / "train" / on_disk.WNIDS[1]).iterdir())
    for file in files[1:]:
        shutil.copy(files[0], file)


def val_is_sorted_otherwise(root):
    first, second = (root / "val" / wnid for wnid in on_disk.WNIDS[:2])
    file = next(first.iterdir())
    file.rename(second / f"moved_{file.name}")


def folders_have_other_names(root):
    for part in ("train", "val"):
        (root / part / on_disk.WNIDS[0]).rename(root / part / "tench")


FAULTS = {
    one_less: "11 images in val, not 12",
    a_class_less: "2 folders of classes, not 3",
    val_is_train: "4 of the 12 images of n01440764 .* are copies of others, such as .*/val/.* of .*/train/",
    one_image_over_and_over: "7 of the 12 images of n01443537",
    val_is_sorted_otherwise: "holds [35] images, not 4",
    folders_have_other_names: "tench is not the folder of a class",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_imagenet_that_is_another_is_told(photographs, fault):
    fault(photographs)
    with pytest.raises(UserError, match=FAULTS[fault]) as told:
        ImageNet(root=str(photographs)).ready()
    assert "data.check=false" in str(told.value)
    ImageNet(root=str(photographs), check=False).ready()
