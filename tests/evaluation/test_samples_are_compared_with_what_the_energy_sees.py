"""Samples are compared with the whole central square of ImageNet's photographs, on which the energy is trained."""

import numpy as np
import on_disk
import pytest
import torch
from PIL import Image

from harness.core.dataset import gather
from harness.datasets.augment import Augment, Frame
from harness.datasets.cifar import CIFAR10
from harness.datasets.digits import Digits
from harness.datasets.imagenet import ImageNet
from harness.evaluation import canaries
from harness.evaluation.features.inception import Inception
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.counterfactuals import Counterfactuals
from harness.evaluation.metrics.fidelity import Fidelity
from harness.evaluation.reference import data_digests
from harness.evaluation.samples import Sampling
from harness.evaluation.selection import Steps

WIDTH, HEIGHT, SIZE, PER_CLASS = 100, 60, 24, 12
METRIC = Fidelity(features="corner", kid_subset=2, seed=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs that tell the place: red is twice the column, green twice the row, and blue differs among them."""
    root, rng = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for part, count in (("train", PER_CLASS), ("val", 3)):
        for wnid in on_disk.WNIDS[:2]:
            (root / part / wnid).mkdir(parents=True)
            for number in range(count):
                pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
                pixels[..., 0], pixels[..., 1] = 2 * np.arange(WIDTH), 2 * np.arange(HEIGHT)[:, None]
                pixels[..., 2] = rng.integers(256)
                Image.fromarray(pixels).save(root / part / wnid / f"{wnid}_{number}.JPEG", quality=100, subsampling=0)
    return ImageNet(root=str(root), size=SIZE, validation=4, check=False)


def edges(image):
    """The place in the photograph of an image's left, right, top and bottom pixels: columns, then rows."""
    red, green = 255 * image[0], 255 * image[1]
    return [float(line.mean()) / 2 for line in (red[:, 0], red[:, -1], green[0], green[-1])]


def centres(first, last):
    """The places of the first and last of SIZE pixels that cover a range of the photograph's pixels."""
    half = (last - first) / SIZE / 2
    return [first + half - 0.5, last - half - 0.5]


def test_the_reference_shows_the_central_square_and_the_test_view_a_part_of_it(data):
    margin = (WIDTH - HEIGHT) / 2
    square = [*centres(margin, WIDTH - margin), *centres(0, HEIGHT)]
    short = int(256 / 224 * SIZE)
    cut = HEIGHT * (1 - SIZE / short) / 2
    inner = [*centres(margin + cut, WIDTH - margin - cut), *centres(cut, HEIGHT - cut)]
    for branch, expected in (("reference", square), ("plain", inner)):
        assert edges(data.view("train", branch)[0, 7][0]) == pytest.approx(expected, abs=1.6), branch
    assert inner[0] - square[0] > 2


def test_the_reference_is_framed_as_real_images_and_not_flipped(data):
    for seed in range(8):
        reference, real = (data.view("test", branch)[3, seed][0] for branch in ("reference", "real"))
        assert torch.equal(reference, real) or torch.equal(reference, real.flip(-1))
        assert torch.equal(reference, data.view("test", "reference")[3, 0][0])
    turned = ImageNet(root=data.root, size=SIZE, validation=4, check=False, real=Frame("random", flip=True))
    assert torch.equal(turned.view("test", "reference")[3, 5][0], reference), "it is never augmented"


def test_the_reference_of_digits_and_cifar_is_their_test_view(tmp_path):
    on_disk.cifar10(tmp_path)
    strong = Augment(crop=4, flip=True, autoaugment=True, cutout=16)
    for data in (Digits(), CIFAR10(root=str(tmp_path), validation=10, labelled=strong, real=strong)):
        keys = [(index, 5 + index) for index in range(data.length("test"))]
        plain, reference = (gather(data.view("test", branch), keys)[0] for branch in ("plain", "reference"))
        assert torch.equal(plain, reference)


class Corner:
    """Features that tell the framing: the red, green and blue of the first pixel, and two of the last."""

    source = type("Source", (Inception,), {"dims": 5, "extractor": "corner"})()
    digest = "0" * 64

    def __call__(self, images):
        first, last = images[:, :, 0, 0], images[:, :2, -1, -1]
        return {"features": torch.cat([first, last], 1).float()}


@pytest.fixture
def subject(data, tmp_path):
    return Subject(None, data, torch.device("cpu"), None, tmp_path / "cache", opened={"corner": Corner()})


def eight_bits(data, split, branch):
    return (gather(data.view(split, branch), [(i, 0) for i in range(data.length(split))])[0] * 255).to(torch.uint8)


def test_statistics_are_of_the_reference_and_the_canary_compares_with_the_same(data, subject):
    features, against = METRIC.compared(subject)
    for branch, same in (("reference", True), ("plain", False)):
        mean = features(eight_bits(data, "train", branch))["features"].mean(0).numpy()
        assert np.allclose(mean, against.statistics["mu"], atol=1e-3) == same, branch
    (figure,) = canaries.check_reference(subject, features, against).values()
    assert figure < 1e-3, "the same images, so there is no difference at all"


def test_the_sampler_s_steps_are_chosen_by_the_reference(data, subject, tmp_path):
    steps, how = Steps(count=4, against="validation", features="corner", offsets=(-1, 1)), Sampling(4, 4, 0)
    for number, branch in ((5, "plain"), (7, "reference")):
        images = gather(data.view("validation", branch), [(i, 0) for i in range(4)])[0]
        steps.samples(tmp_path, how, number).write(0, images)
    steps.choose(subject, tmp_path, how, 6, {})
    assert '"steps": 7' in (tmp_path / "selection.json").read_text()


def test_counterfactuals_are_compared_with_the_reference(data, subject):
    metric = Counterfactuals(split="train", radii=(1.0,), steps=1, features="corner", chunk=99, seed=0)
    targets = metric.targets(data, list(range(data.length("train"))))
    labels, values = data.labels("train"), {}
    for branch in ("reference", "plain"):
        rows = Corner()(eight_bits(data, "train", branch))["features"].numpy()
        walked = np.zeros_like(rows)
        for label in range(2):  # a perfect walk: images of the target class, in the target's places
            walked[(targets == label).numpy()] = rows[(labels == label).numpy()]
        (values[branch],) = metric._mean_frechet(subject, subject.opened["corner"], [{"features": walked}])
    assert values["reference"] < 1e-2 < values["plain"] / 100


def test_digests_of_the_data_tell_the_framing(data):
    frames = [data_digests(data)]
    Other = type("Other", (ImageNet,), {"prepare": lambda self, image, branch, seed: ImageNet.prepare(
        self, image, "plain" if branch == "reference" else branch, seed)})  # fmt: skip
    frames.append(data_digests(Other(root=data.root, size=SIZE, validation=4, check=False)))
    assert set(frames[0]) == {"train", "validation", "test"}
    assert all(frames[0][split] != frames[1][split] for split in frames[0])
