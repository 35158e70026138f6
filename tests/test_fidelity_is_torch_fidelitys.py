"""FD, KID, IS, precision and recall are torch-fidelity's, in features that follow from the training split alone."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.linalg import sqrtm
from torch.utils.data import Dataset as View
from torch_fidelity import calculate_metrics

from harness.metric import Subject
from harness.metrics import features
from harness.metrics.fidelity import Fidelity
from harness.sample import eight_bits

CPU = torch.device("cpu")
METRIC = Fidelity(features="digits", kid_subset=50, seed=4)
KEYS = {
    "fid": ("fd_digits", "frechet_inception_distance"),
    "kid": ("kid_digits", "kernel_inception_distance_mean"),
    "isc": ("is_digits", "inception_score_mean"),
    "precision": ("precision_digits", "precision"),
    "recall": ("recall_digits", "recall"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the extractor is trained once for the module."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def weights(digits, cache):
    return features.weights(*digits.tensors("train"), cache)


@pytest.fixture(scope="module")
def noisy(digits):
    """Test digits with noise: near the training split, but not of it."""
    images, _ = digits.tensors("test")
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return eight_bits((images + 0.1 * noise).clamp(0, 1))


def figures(samples, digits, cache):
    subject = Subject(None, digits, CPU, lambda: samples, cache)
    result = METRIC.merge(subject, [METRIC.score(subject, shard) for shard in range(METRIC.shards(subject))])
    return {key: score.value for key, score in result.scores.items()}


class Files(View):
    """PNGs of a folder as torch-fidelity's own dataset reads them, but grey: it makes every image RGB."""

    def __init__(self, folder):
        self.paths = sorted(folder.iterdir())

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return torch.from_numpy(np.array(Image.open(self.paths[index])))[None]


def saved(images, folder):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:05d}.png")
    return Files(folder)


def test_the_figures_are_those_of_direct_calls_on_stored_images(digits, cache, weights, noisy, tmp_path):
    ours = figures(noisy, digits, cache)
    samples = saved(noisy, tmp_path / "samples")
    reference = saved(eight_bits(digits.tensors("train")[0]), tmp_path / "reference")
    for switch in ({"fid": True}, {"kid": True, "kid_subset_size": 50}, {"isc": True}, {"prc": True}):
        theirs = calculate_metrics(
            input1=samples,
            input2=reference,
            feature_extractor=features.NAME,
            feature_extractor_weights_path=str(weights),
            rng_seed=4,
            cuda=False,
            save_cpu_ram=True,
            cache=False,
            verbose=False,
            **switch,
        )
        for name in ("precision", "recall") if "prc" in switch else list(switch)[:1]:
            key, theirs_key = KEYS[name]
            scale = 1000 if name == "kid" else 1
            assert ours[key] == pytest.approx(scale * theirs[theirs_key], rel=1e-6), name


def test_the_frechet_distance_is_its_formula(digits, cache, weights, noisy):
    extractor = features.DigitsFeatures("x", ["features"], feature_extractor_weights_path=str(weights))
    reference = eight_bits(digits.tensors("train")[0])
    a, b = (extractor(images)[0].double().numpy() for images in (noisy, reference))
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(of_a + of_b - 2 * sqrtm(of_a @ of_b).real)
    assert figures(noisy, digits, cache)["fd_digits"] == pytest.approx(distance, rel=1e-4)


def test_the_training_split_is_at_no_distance_from_itself_and_scrambled_pixels_are_far(digits, cache, noisy):
    train = eight_bits(digits.tensors("train")[0])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    scrambled = train.flatten(1)[:, order].view(train.shape)
    same, near, far = (figures(images, digits, cache) for images in (train, noisy, scrambled))
    assert abs(same["fd_digits"]) < 1e-3
    assert abs(same["kid_digits"]) < 5 < far["kid_digits"] / 5
    assert (same["precision_digits"], same["recall_digits"]) == (1, 1)
    assert same["fd_digits"] < near["fd_digits"] < far["fd_digits"] / 5
    assert same["is_digits"] > 8, "ten classes, all recognised"
    assert far["precision_digits"] < 0.5 < near["precision_digits"]


def test_one_image_over_and_over_is_precise_but_recalls_nothing(digits, cache):
    train = eight_bits(digits.tensors("train")[0])
    collapsed = figures(train[:1].repeat(200, 1, 1, 1), digits, cache)
    assert collapsed["precision_digits"] == 1, "precision and recall must not be exchanged"
    assert collapsed["recall_digits"] < 0.05


def test_the_extractor_is_trained_alike_each_time_whatever_the_global_seed(digits, weights, tmp_path):
    torch.manual_seed(99)
    again = features.weights(*digits.tensors("train"), tmp_path)
    assert again.name == weights.name
    first, second = load_file(weights), load_file(again)
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_extractor_is_kept_under_the_hash_of_its_data(digits, weights, cache, monkeypatch):
    images, labels = digits.tensors("train")

    class Retrained(Exception):
        pass

    def refuse(*_):
        raise Retrained

    monkeypatch.setattr(features, "_trained", refuse)
    assert features.weights(images, labels, cache) == weights
    other_image, other_label = images.clone(), labels.clone()
    other_image[0, 0, 0, 0] += 0.5
    other_label[0] = (other_label[0] + 1) % 10
    for data in ((other_image, labels), (images, other_label)):
        with pytest.raises(Retrained):
            features.weights(*data, cache)


def test_the_extractor_tells_unseen_digits_apart(digits, weights):
    extractor = features.DigitsFeatures("x", ["logits"], feature_extractor_weights_path=str(weights))
    images, labels = digits.tensors("test")
    (logits,) = extractor(eight_bits(images))
    assert (logits.argmax(1) == labels).float().mean() > 0.95
