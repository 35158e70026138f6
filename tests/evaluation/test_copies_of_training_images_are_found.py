"""Samples that are copies of training images are found, and fresh real images are not taken for copies."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from harness.core.errors import UserError
from harness.evaluation import neighbours
from harness.evaluation.metric import Subject
from harness.evaluation.metrics import memorisation
from harness.evaluation.metrics.memorisation import Memorisation
from harness.evaluation.samples import Samples, Sampling, eight_bits

CPU = torch.device("cpu")
SPACES = "_digits", "_pixels"


class Given(Samples):
    """Samples in memory, cut into chunks."""

    def __init__(self, images, chunk):
        super().__init__(None, Sampling(count=len(images), chunk=chunk, seed=0))
        object.__setattr__(self, "images", images)

    def __getitem__(self, chunk):
        return self.images[list(self.indices(chunk))]


@pytest.fixture(scope="module")
def train(digits):
    return eight_bits(digits.tensors("train")[0])


@pytest.fixture(scope="module")
def fresh(digits):
    return eight_bits(digits.tensors("test")[0])


@pytest.fixture(scope="module")
def judged(digits, tmp_path_factory):
    """A function that judges samples: the result, the subject and the metric."""
    cache = tmp_path_factory.mktemp("cache")

    def judge(images, chunk=100):
        metric = Memorisation(features="digits", against="validation")
        subject = Subject(None, digits, CPU, Given(images, chunk), cache)
        parts = [metric.score(subject, shard) for shard in range(metric.shards(subject))]
        return metric.merge(subject, parts), parts, subject, metric

    return judge


def values(result):
    return {key: score.value for key, score in result.scores.items()}


def test_copies_are_found(judged, train):
    result, *_ = judged(train[::5])
    for space in SPACES:
        assert values(result)[f"authpct{space}"] == 0
        assert values(result)[f"memorised{space}"] == values(result)[f"authpct_held_out{space}"] > 30
        assert values(result)[f"nearest_ratio{space}"] < 1e-4
    assert "copies" in result.scores["memorised_digits"].warnings[0]


def test_fresh_real_images_are_no_copies(judged, fresh):
    result, *_ = judged(fresh)
    for space in SPACES:
        score, held_out = result.scores[f"authpct{space}"], result.scores[f"authpct_held_out{space}"]
        assert score.low < held_out.high and held_out.low < score.high
        assert 30 < score.value < 80
        assert values(result)[f"nearest_ratio{space}"] == pytest.approx(1, abs=0.15)
    assert not any(score.warnings for score in result.scores.values())


def test_noise_is_like_no_training_image(judged):
    result, *_ = judged(torch.randint(0, 256, (50, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte())
    assert values(result)["authpct_pixels"] == 100
    assert values(result)["memorised_pixels"] == 0, "noise is not better than real images"
    assert values(result)["nearest_ratio_pixels"] > 1.5


@pytest.mark.parametrize("space", SPACES)
def test_the_figures_are_those_of_all_distances(judged, digits, train, fresh, space):
    """Half copies, half fresh, against the whole matrices of distances."""
    images = torch.cat([train[:40], fresh[:40]])
    result, _, subject, _ = judged(images)
    held_out = eight_bits(digits.tensors("validation")[0])

    def points(of):
        features = subject.features("digits")(of)["features"] if space == "_digits" else of.flatten(1)
        return features.double().numpy()

    apart = cdist(points(train), points(train))
    np.fill_diagonal(apart, np.inf)
    to_train, of_held_out = (cdist(points(of), points(train)) for of in (images, held_out))
    authentic = to_train.min(1) > apart.min(1)[to_train.argmin(1)]
    assert values(result)[f"authpct{space}"] == pytest.approx(100 * authentic.mean())
    ratio = np.median(to_train.min(1)) / np.median(of_held_out.min(1))
    assert values(result)[f"nearest_ratio{space}"] == pytest.approx(ratio, rel=1e-5)
    assert not authentic[:40].any()


def test_the_most_suspicious_come_first_beside_the_image_that_they_copy(judged, digits, train, fresh, tmp_path):
    images = torch.cat([fresh[:30], train[7:8], fresh[30:50], train[500:501]])
    result, parts, _, metric = judged(images, chunk=52)
    assert set(metric.suspects(parts[0], "pixels")[:2]) == {30, 51}
    assert set(metric.suspects(parts[0], "features")[:2]) == {30, 51}
    order = digits.labels("train").argsort(stable=True)
    assert [int(order[parts[0]["pixels/place"][i]]) for i in (30, 51)] == [7, 500]
    result.pictures["nearest"](tmp_path / "nearest.png")
    assert (tmp_path / "nearest.png").stat().st_size > 1000


def test_neither_chunks_nor_blocks_change_a_score(judged, fresh, monkeypatch):
    whole = values(judged(fresh, chunk=360)[0])
    monkeypatch.setattr(neighbours, "BLOCK", 100)
    assert values(judged(fresh, chunk=50)[0]) == whole


def test_no_matrix_of_all_distances_is_ever_made(judged, fresh, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 64)
    made, cdist = [], torch.cdist

    def watched(*arguments, **options):
        made.append(cdist(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(torch, "cdist", watched)
    judged(fresh)
    assert made and max(found.numel() for found in made) <= 64 * 64


def test_the_training_split_is_not_held_out(digits):
    with pytest.raises(ValueError, match="held-out"):
        Memorisation(features="digits", against="train")


def test_training_images_that_do_not_fit_into_memory_are_refused_before_training(digits, monkeypatch):
    metric = Memorisation(features="digits", against="validation")
    monkeypatch.setattr(memorisation, "LARGEST", 1257 * 64)
    metric.ready(digits, Sampling(count=80, chunk=40, seed=0), {})
    monkeypatch.setattr(memorisation, "LARGEST", 1257 * 64 - 1)
    with pytest.raises(UserError, match="all training images in memory"):
        metric.ready(digits, Sampling(count=80, chunk=40, seed=0), {})


def test_a_split_without_images_is_refused_before_training(digits, monkeypatch):
    monkeypatch.setattr(type(digits), "length", lambda self, split: 0 if split == "validation" else 1257)
    with pytest.raises(UserError, match="against=validation"):
        Memorisation(features="digits", against="validation").ready(digits, Sampling(count=80, chunk=40, seed=0), {})
