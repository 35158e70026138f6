"""Augmentations depend only on (image, seed) and equal the published ones."""

import on_disk
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import hflip, to_tensor

from harness.core.loader import batches
from harness.core.random import derive, seed_global
from harness.datasets.augment import Augment, Frame
from harness.datasets.cifar import CIFAR10, CIFAR100
from harness.datasets.imagenet import ImageNet

SEEDS = st.integers(0, 2**63 - 1)
AUGMENTS = st.builds(
    Augment,
    crop=st.integers(0, 6),
    fill=st.sampled_from(["zero", "reflect"]),
    flip=st.booleans(),
    autoaugment=st.booleans(),
    cutout=st.integers(0, 20),
    policy=st.sampled_from(["torchvision", "ratio"]),
)


def image(number=0):
    return torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(number))


def photograph(width=61, height=45):
    return Image.fromarray(image().permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.BICUBIC)


@settings(max_examples=60)
@given(AUGMENTS, SEEDS)
def test_an_augmentation_is_a_function_of_image_and_seed(augment, seed):
    before = torch.get_rng_state()
    original = image()
    augmented = augment(original, seed)
    assert torch.equal(original, image()), "the image itself may not change"
    assert torch.equal(torch.get_rng_state(), before), "the global generator may not change"
    torch.rand(7)
    assert torch.equal(augment(image(), seed), augmented)
    assert augmented.shape == (3, 32, 32)
    assert augmented.dtype == torch.float
    assert 0 <= augmented.min() <= augmented.max() <= 1


def test_nothing_on_is_nothing_done():
    assert torch.equal(Augment()(image(), 3), image() / 255)


@pytest.mark.parametrize("fill, mode", [("zero", "constant"), ("reflect", "reflect")])
def test_a_crop_is_a_window_of_the_padded_image_and_every_window_occurs(fill, mode):
    padded = torch.nn.functional.pad(image()[None] / 255, [2] * 4, mode=mode)[0]
    windows = {padded[:, r : r + 32, c : c + 32].numpy().tobytes(): (r, c) for r in range(5) for c in range(5)}
    places = [windows[Augment(crop=2, fill=fill)(image(), seed).numpy().tobytes()] for seed in range(400)]
    assert len(set(places)) == 25


def test_half_of_the_images_are_flipped():
    flipped = [Augment(flip=True)(image(), seed) for seed in range(400)]
    mirrored = sum(torch.equal(x, image().flip(-1) / 255) for x in flipped)
    assert mirrored + sum(torch.equal(x, image() / 255) for x in flipped) == 400
    assert 160 < mirrored < 240


@pytest.mark.parametrize("side", [8, 16])
def test_a_cutout_is_a_black_square_centred_anywhere_and_cut_at_the_border(side):
    squares = {}
    for row in range(32):
        for column in range(32):
            mask = torch.ones(32, 32)
            mask[max(row - side // 2, 0) : row + side // 2, max(column - side // 2, 0) : column + side // 2] = 0
            squares.setdefault(mask.numpy().tobytes(), []).append((row, column))
    found = []
    for seed in range(3000):
        augmented = Augment(cutout=side)(torch.full((3, 32, 32), 255, dtype=torch.uint8), seed)
        assert torch.equal(augmented[0], augmented[1])
        assert torch.equal(augmented[0], augmented[2])
        found += squares[augmented[0].numpy().tobytes()]
    rows, columns = (torch.tensor(found)[:, i].bincount(minlength=32) for i in (0, 1))
    assert rows.min() > 40, "94 are expected in each row"
    assert columns.min() > 40


def bytes_of(augmented):
    return (augmented * 255).round().to(torch.uint8)


@settings(max_examples=150)
@given(SEEDS)
def test_the_order_is_crop_flip_autoaugment_cutout(seed):
    step = image()
    for augment in (Augment(crop=4), Augment(flip=True), Augment(autoaugment=True), Augment(cutout=16)):
        step = bytes_of(augment(step, seed))
    assert torch.equal(bytes_of(Augment(4, "zero", True, True, 16)(image(), seed)), step)


def test_autoaugment_is_torchvision_s_policy_for_cifar():
    policy = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)
    picture = transforms.functional.to_pil_image(image())
    for seed in range(100):
        with seed_global(derive(seed, "autoaugment")):
            expected = to_tensor(policy(picture))
        assert torch.equal(Augment(autoaugment=True)(image(), seed), expected)


def test_what_autoaugment_uncovers_is_black():
    white = torch.full((3, 32, 32), 255, dtype=torch.uint8)
    augmented = [Augment(autoaugment=True)(white, seed) for seed in range(300)]
    uncovered = [x for x in augmented if x.max() == 1 and x.min() < 1]
    assert len(uncovered) > 30
    assert all(x.min() == 0 for x in uncovered)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return on_disk.imagenet(on_disk.cifar100(on_disk.cifar10(tmp_path_factory.mktemp("data"))))


@pytest.mark.parametrize("kind", [CIFAR10, CIFAR100])
def test_the_branches_of_cifar_are_augmented_as_published(folder, kind):
    data = kind(root=str(folder), validation=0)
    keys = [(i, 1000 + i) for i in range(40)]
    plain, labels = data.view("train", "plain").__getitems__(keys)
    for branch, expected in (
        ("labelled", Augment(crop=4, fill="zero", flip=True, autoaugment=True, cutout=16)),
        ("real", Augment(crop=4, fill="zero", flip=True)),
        ("outliers", Augment(crop=4, fill="zero", flip=True)),
    ):
        images, same = data.view("train", branch).__getitems__(keys)
        one_by_one = [expected(bytes_of(x), seed) for x, (_, seed) in zip(plain, keys, strict=True)]
        assert torch.equal(images, torch.stack(one_by_one))
        assert torch.equal(same, labels)
        picture = transforms.functional.to_pil_image(plain[0])
        assert torch.equal(data.prepare(picture, branch, 1000), images[0]), "foreign images must be treated alike"
    single, label = data.view("train", "labelled")[keys[3]]
    assert torch.equal(single, data.view("train", "labelled").__getitems__(keys)[0][3]), "the batch may not matter"
    assert label == labels[3]


@pytest.mark.parametrize("size, short", [(24, 27), (224, 256), (256, 292)])
def test_the_test_transform_of_imagenet_is_bicubic_at_256_to_224(size, short):
    transform = transforms.Compose(
        [transforms.Resize(short, InterpolationMode.BICUBIC), transforms.CenterCrop(size), transforms.ToTensor()]
    )
    for seed in (0, 1):
        assert torch.equal(ImageNet(size=size).prepare(photograph(), "plain", seed), transform(photograph()))


@settings(max_examples=30)
@given(SEEDS)
def test_a_random_frame_is_an_inception_crop(seed):
    crop = transforms.RandomResizedCrop(24, scale=(0.08, 1.0), interpolation=InterpolationMode.BILINEAR)
    before = torch.get_rng_state()
    framed = Frame("random")(photograph(), 24, seed)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "crop"))
        assert torch.equal(framed, to_tensor(crop(photograph())))


def test_a_central_frame_is_the_middle_of_the_photograph_bilinear():
    transform = transforms.Compose([transforms.Resize(24), transforms.CenterCrop(24), transforms.ToTensor()])
    for size in ((61, 45), (45, 61), (10, 10)):
        assert torch.equal(Frame("centre")(photograph(*size), 24, 5), transform(photograph(*size)))


@pytest.mark.parametrize("crop", ["random", "centre"])
def test_half_of_the_photographs_are_flipped(crop):
    mirrored = 0
    for seed in range(200):
        plain, flipped = (Frame(crop, flip)(photograph(), 24, seed) for flip in (False, True))
        mirrored += torch.equal(flipped, hflip(plain))
        assert torch.equal(flipped, plain) != torch.equal(flipped, hflip(plain))
    assert 75 < mirrored < 125


def test_the_branches_of_imagenet_are_framed_as_published():
    data = ImageNet(size=24)
    for branch, frame in (("labelled", "random"), ("real", "centre"), ("outliers", "random")):
        for seed in range(8):
            expected = Frame(frame, flip=True)(photograph(), 24, seed)
            assert torch.equal(data.prepare(photograph(), branch, seed), expected)


@pytest.mark.parametrize("branch", ["labelled", "outliers"])
def test_the_number_of_workers_changes_nothing(folder, branch):
    for data in (CIFAR10(root=str(folder), validation=0), ImageNet(root=str(folder), size=24, validation=0)):
        view = data.view("train", branch)
        alone, shared = (list(batches(view, len(view), 8, 3, 1, 4, workers)) for workers in (0, 2))
        for (x, y), (other_x, other_y) in zip(alone, shared, strict=True):
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)
