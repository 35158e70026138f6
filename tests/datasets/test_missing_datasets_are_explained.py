"""The error for missing, damaged or misplaced dataset files says what is expected where, and how to get it."""

import pickle

import on_disk
import pytest
import torchvision

from harness.core.errors import UserError
from harness.datasets.cifar import CIFAR10, CIFAR100
from harness.datasets.cifar_archive import Archive
from harness.datasets.imagenet import ImageNet


def test_nothing_is_read_before_it_is_asked_for(tmp_path):
    for data in (CIFAR10(root=str(tmp_path)), CIFAR100(root=str(tmp_path)), ImageNet(root=str(tmp_path))):
        assert data.shape[0] == 3
    assert len(CIFAR10().classes) == 10
    assert len(CIFAR100().classes) == 100


@pytest.mark.parametrize("ask", [lambda data: data.ready(), lambda data: data.labels("train")])
def test_a_missing_archive_is_explained(tmp_path, ask):
    with pytest.raises(UserError) as caught:
        ask(CIFAR10(root=str(tmp_path)))
    page, into = "https://www.cs.toronto.edu/~kriz/cifar.html", f"into {tmp_path}, which data.root sets"
    for part in (str(tmp_path / "cifar-10-batches-py"), "data.download=true", page, into):
        assert part in str(caught.value)
    assert not list(tmp_path.iterdir()), "nothing may be written"


def test_an_archive_is_fetched_once_and_only_if_asked(tmp_path, monkeypatch):
    fetched = []

    def fetch(root, download):
        fetched.append(download)
        on_disk.cifar10(tmp_path)

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fetch)
    data = CIFAR10(root=str(tmp_path), download=True, validation=20)
    data.ready()
    data.ready()
    CIFAR10(root=str(tmp_path), download=True).ready()
    assert fetched == [True]
    assert len(data.labels("train")) == 80


def test_a_plan_fetches_nothing(tmp_path, monkeypatch, type_):
    fetched = []
    monkeypatch.setattr(Archive, "_fetch", lambda *given: fetched.append(given))
    words = ("method=at", "data=cifar10", f"data.root={tmp_path / 'data'}", "data.download=true")
    status, out, err = type_("plan", *words)
    assert status == 0 and fetched == [] and list(tmp_path.iterdir()) == [], err
    assert "CIFAR10 is expected at" in out and "`plan` downloads nothing; the command itself does" in out


def test_an_archive_that_cannot_be_fetched_is_explained(tmp_path, monkeypatch):
    def refuse(root, download):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", refuse)
    with pytest.raises(UserError, match=r"could not be fetched \(Name or service not known\)\. Fetch .* by hand"):
        CIFAR100(root=str(tmp_path), download=True).ready()


class Harm:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(
    "content, problem",
    [
        (pickle.dumps(Harm()), "it asks for builtins.exec"),
        (b"", "Ran out of input"),
        (pickle.dumps([1, 2]), "holds no CIFAR batches"),
    ],
)
def test_a_damaged_or_harmful_archive_is_refused(tmp_path, content, problem):
    on_disk.cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(UserError, match=problem):
        CIFAR10(root=str(tmp_path)).labels("train")


def test_an_imagenet_that_is_not_there_is_explained(tmp_path):
    data = ImageNet(root=str(tmp_path))
    with pytest.raises(UserError) as caught:
        data.ready()
    for part in (str(tmp_path / "train"), "https://image-net.org/download.php", "ILSVRC2012", "sort the images of val"):
        assert part in str(caught.value)


def test_a_val_folder_that_is_not_sorted_into_classes_is_explained(tmp_path):
    on_disk.imagenet(tmp_path)
    for file in list((tmp_path / "val").glob("*/*")):
        file.rename(tmp_path / "val" / file.name)
        if not list(file.parent.iterdir()):
            file.parent.rmdir()
    with pytest.raises(UserError, match="sort the images of val into class folders"):
        ImageNet(root=str(tmp_path)).ready()


def test_an_empty_class_and_one_of_a_single_split_are_explained(tmp_path):
    on_disk.imagenet(tmp_path)
    (tmp_path / "train" / "n99").mkdir()
    with pytest.raises(UserError, match="n99 holds no images"):
        ImageNet(root=str(tmp_path)).ready()
    (tmp_path / "train" / "n99").rename(tmp_path / "n99")
    (tmp_path / "val" / on_disk.WNIDS[2]).rename(tmp_path / "n98")
    with pytest.raises(UserError, match=f"same class folders; only one has {on_disk.WNIDS[2]}"):
        ImageNet(root=str(tmp_path)).ready()
