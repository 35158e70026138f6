"""Anchors stand at both ends: copies and real test images bound what samples can score, starts what they must."""

from dataclasses import replace

import pytest
import torch

from harness.core.dataset import Dataset, TensorView
from harness.core.errors import UserError
from harness.datasets.outliers.fields import Fields
from harness.evaluation import anchors
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.fidelity import Fidelity
from harness.evaluation.samples import Samples, Sampling, eight_bits
from harness.evaluation.score import ANCHOR

CPU = torch.device("cpu")
METRIC = Fidelity("digits", kid_subset=50, seed=0, anchors=True)


@pytest.fixture(scope="module")
def subject(digits, tmp_path_factory):
    """The starts themselves as samples of digits: the sampler takes no step."""
    samples, outliers = Samples(tmp_path_factory.mktemp("samples"), Sampling(300, 300, 0)), Fields(digits)
    samples.write(0, outliers.starts(range(300)))
    return Subject(None, digits, CPU, samples, tmp_path_factory.mktemp("cache"), outliers=outliers)


@pytest.fixture(scope="module")
def scores(subject):
    return METRIC.merge(subject, [METRIC.score(subject, 0)]).scores


def test_their_distances_are_in_the_order_that_they_must_have(scores):
    distance = {name: scores[f"anchor/{name}/fd_digits"].value for name in anchors.NAMES}
    # 300 of 1,257 copies are as far from all of them as 300 other digits are: the samples are few, not wrong.
    assert max(distance["copies"], distance["test"]) < 0.5 * distance["gaussians"], distance
    assert distance["gaussians"] < distance["starts"], distance


def test_they_are_measured_as_samples_are(scores):
    own = {key: score for key, score in scores.items() if not score.table}
    assert {"fd_digits", "kid_digits", "precision_digits", "recall_digits", "is_digits"} == own.keys()
    for key, score in own.items():
        anchor = scores[anchors.key("starts", key)]
        assert anchor == score.model_copy(update={"table": f"{ANCHOR}starts of samples, untouched (fields)"})


def test_every_score_is_known_beforehand(scores, digits):
    assert sorted(METRIC.keys(digits)) == sorted(scores)
    assert not any(key.startswith("anchor") for key in replace(METRIC, anchors=False).keys(digits))


def test_they_are_measured_once_and_anew_for_other_samples(subject, scores, monkeypatch):
    parts, calls, count = [METRIC.score(subject, 0)], [], Fidelity._inception_score

    def counted(self, of, logits):
        calls.append(len(logits))
        return count(self, of, logits)

    monkeypatch.setattr(Fidelity, "_inception_score", counted)
    assert METRIC.merge(subject, parts).scores == scores and calls == [300]
    replace(METRIC, seed=1).merge(subject, parts)
    assert calls == [300] * 6


class Correlated(Dataset):
    """Grey pictures of 1 x 3 pixels in two classes; two of the pixels move together."""

    classes, shape = ("dark", "light"), (1, 1, 3)

    def __init__(self):
        noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
        self.known = torch.arange(4000) % 2
        shade = 0.4 + 0.2 * self.known
        pixels = torch.stack([noise[:, 0], 0.8 * noise[:, 0] + 0.6 * noise[:, 1], noise[:, 2]], 1)
        self.images = (shade[:, None] + 0.05 * pixels).view(-1, 1, 1, 3)

    def view(self, split, branch):
        return TensorView(self.images, self.known)

    def labels(self, split):
        return self.known


def test_gaussians_have_the_mean_and_the_covariance_of_their_class():
    data = Correlated()
    drawn = anchors.gaussians(data, 4000, seed=0).flatten(1).double() / 255
    for label in (0, 1):
        found, real = drawn[label::2], data.images[data.known == label].flatten(1).double()
        torch.testing.assert_close(found.mean(0), real.mean(0), atol=0.006, rtol=0)
        torch.testing.assert_close(torch.cov(found.T), torch.cov(real.T), atol=2.5e-4, rtol=0)
        assert len({tuple(row) for row in found.tolist()}) > 900, "they must not be copies"


def test_copies_are_training_images_and_starts_those_of_samples(subject, digits):
    found = {anchor.name: anchor.images for anchor in anchors.anchors(subject, 50, seed=0)}
    train = {tuple(image) for image in eight_bits(digits.tensors("train")[0]).flatten(1).tolist()}
    assert all(tuple(image) in train for image in found["copies"].flatten(1).tolist())
    assert torch.equal(found["starts"], subject.samples.first(50))


def test_too_few_test_images_are_refused_before_training(digits):
    few = replace(digits, test=60)
    with pytest.raises(UserError, match="images of the test split=60"):
        METRIC.ready(few, Sampling(300, 300, 0), {})
