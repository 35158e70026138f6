"""CIFAR and ImageNet files are read as torchvision reads them, split by seed, and loaded in batches."""

from typing import get_args

import on_disk
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from PIL import Image

from harness.core.dataset import Branch
from harness.core.errors import UserError
from harness.core.loader import batches
from harness.core.registry import build, configs
from harness.datasets.cifar import CIFAR10, CIFAR100
from harness.datasets.imagenet import ImageNet

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    return on_disk.cifar100(on_disk.cifar10(tmp_path_factory.mktemp("cifar")))


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return on_disk.imagenet(tmp_path_factory.mktemp("imagenet"))


def unchecked(kind):
    """torchvision's own reader without its check of the files' checksums."""
    lists = {name: [[file, None] for file, _ in getattr(kind, name)] for name in ("train_list", "test_list")}
    return type("Unchecked", (kind,), {**lists, "meta": {**kind.meta, "md5": None}})


@pytest.mark.parametrize("ours, theirs", [(CIFAR10, "CIFAR10"), (CIFAR100, "CIFAR100")])
def test_cifar_is_read_as_torchvision_reads_it(cifar, ours, theirs):
    reader = unchecked(getattr(torchvision.datasets, theirs))
    data = ours(root=str(cifar), validation=0)
    for split in ("train", "test"):
        expected = reader(cifar, train=split == "train")
        images, labels = data.tensors(split)
        assert torch.equal(images, torch.from_numpy(expected.data).permute(0, 3, 1, 2) / 255)
        assert labels.tolist() == expected.targets
        assert torch.equal(data.labels(split), labels)
    assert list(data.classes) == expected.classes
    assert images.dtype == torch.float
    assert images.shape[1:] == data.shape


def test_a_validation_split_is_held_out_of_the_training_images_by_class(cifar):
    whole = CIFAR10(root=str(cifar), validation=0)
    data = CIFAR10(root=str(cifar), validation=20)
    parts = {split: data.tensors(split) for split in SPLITS}
    assert {split: labels.bincount().tolist() for split, (_, labels) in parts.items()} == {
        "train": [8] * 10,
        "validation": [2] * 10,
        "test": [5] * 10,
    }
    split = torch.cat([parts["train"][0], parts["validation"][0]])
    assert sorted(split.flatten(1).tolist()) == sorted(whole.tensors("train")[0].flatten(1).tolist())
    assert torch.equal(parts["test"][0], whole.tensors("test")[0]), "the test set must be the official one"


def test_the_split_follows_from_its_seed(cifar):
    first, again, other = (CIFAR10(root=str(cifar), validation=20, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.tensors("validation")[0], again.tensors("validation")[0])
    assert not torch.equal(first.tensors("validation")[0], other.tensors("validation")[0])


def test_a_validation_split_that_is_too_large_is_explained(cifar):
    with pytest.raises(UserError, match=r"data\.validation=100 cannot be held out of 100 images"):
        CIFAR10(root=str(cifar), validation=100).labels("train")


def test_imagenet_is_read_from_its_class_folders(imagenet):
    data = ImageNet(root=str(imagenet), size=24, validation=6)
    data.ready()
    assert {split: data.labels(split).bincount().tolist() for split in SPLITS} == {
        "train": [6] * 3,
        "validation": [2] * 3,
        "test": [4] * 3,
    }
    for split in SPLITS:
        images, labels = data.tensors(split)
        assert images.shape == (len(labels), 3, 24, 24)
        assert 0 <= images.min() < images.max() <= 1
        assert torch.equal(labels, data.labels(split))
    files = [imagenet / "val" / wnid / f"{wnid}_{i}.JPEG" for wnid in on_disk.WNIDS[:3] for i in range(4)]
    for image, file in zip(images, files, strict=True):
        assert torch.equal(image, data.prepare(Image.open(file), "plain", 0)), "in the order of folders and names"


def test_the_files_of_imagenet_are_in_one_split_each(imagenet):
    data = ImageNet(root=str(imagenet), size=24, validation=6)
    whole = ImageNet(root=str(imagenet), size=24, validation=0).tensors("train")[0]
    parts = torch.cat([data.tensors(split)[0] for split in ("train", "validation")])
    assert sorted(parts.flatten(1).tolist()) == sorted(whole.flatten(1).tolist())


def test_imagenet_s_classes_have_their_human_names(imagenet, tmp_path):
    assert ImageNet(root=str(imagenet)).classes[0] == "tench, Tinca tinca"
    for name in ("zebra crossing", "n01440764"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert ImageNet(root=str(tmp_path)).classes == ("tench, Tinca tinca", "zebra crossing"), "sorted by folder"


def test_files_that_are_no_images_are_passed_over(tmp_path):
    on_disk.imagenet(tmp_path)
    (tmp_path / "train" / on_disk.WNIDS[0] / "README.txt").write_text("no image")
    (tmp_path / "train" / "README.txt").write_text("no folder")
    (tmp_path / "train" / ".cache").mkdir()
    assert ImageNet(root=str(tmp_path), size=8, validation=0).labels("train").bincount().tolist() == [8] * 3


@pytest.mark.parametrize("branch", get_args(Branch))
def test_batches_have_the_data_s_shape_on_every_branch(cifar, imagenet, branch):
    for data in (CIFAR10(root=str(cifar), validation=20), ImageNet(root=str(imagenet), size=24, validation=6)):
        view = data.view("train", branch)
        images, labels = next(batches(view, len(view), 16, 0, 0, 1))
        assert images.shape == (16, *data.shape)
        assert images.dtype == torch.float
        assert 0 <= images.min() < images.max() <= 1
        assert labels.shape == (16,)


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "1"])
def test_any_picture_becomes_an_image(mode):
    picture = Image.linear_gradient("L").resize((70, 41)).convert("RGB" if mode in "CMYK P" else "L").convert(mode)
    for data in (CIFAR10(), ImageNet(size=24)):
        image = data.prepare(picture, "plain", 0)
        assert image.shape == data.shape
        assert image[0, 0].mean() < image[0, -1].mean(), "dark at the top, light at the bottom"


def test_a_foreign_picture_is_cut_from_its_centre():
    picture = Image.new("RGB", (96, 32), "blue")
    picture.paste(Image.new("RGB", (32, 32), "red"), (32, 0))
    assert torch.equal(
        CIFAR10().prepare(picture, "plain", 0), torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 32, 32)
    )


def configured(name, *overrides):
    config = OmegaConf.merge(OmegaConf.load(configs("data") / f"{name}.yaml"), OmegaConf.from_dotlist(list(overrides)))
    return OmegaConf.to_container(config, resolve=True)["data"]


@pytest.mark.parametrize(
    "name, defaults", [("cifar10", CIFAR10()), ("cifar100", CIFAR100()), ("imagenet256", ImageNet())]
)
def test_the_config_says_what_the_class_does_by_default(name, defaults):
    assert build("data", configured(name)) == defaults.__class__(root=configured(name)["root"])
    assert build("data", {"name": name}) == defaults


def test_imagenet_is_called_by_its_size():
    config = configured("imagenet256", "data.size=224")
    assert config["name"] == "imagenet224"
    assert build("data", config).shape == (3, 224, 224)
