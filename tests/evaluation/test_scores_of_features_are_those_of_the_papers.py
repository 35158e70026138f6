"""Penultimate features of any net, the kNN and Mahalanobis scores of them, and the means over near and far sources."""

import numpy as np
import on_disk
import pytest
import timm
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors
from torch import nn

from harness.core.energy import EnergyModel, InMicroBatches
from harness.core.errors import UserError
from harness.core.registry import find, make
from harness.datasets.outliers.midpoints import Midpoints
from harness.datasets.outliers.noise import Noise
from harness.evaluation.metric import Subject
from harness.evaluation.penultimate import (
    NO_HEAD,
    head,
    knn_score,
    mahalanobis_score,
    penultimate,
    unit,
    whitening,
)
from harness.models.digits import Digits as DigitsNet
from harness.models.dm_wrn import DMWRN
from harness.models.preactresnet18 import PreActResNet18
from harness.models.small import Small
from harness.models.wrn import WRN

CPU = torch.device("cpu")
NETS = {
    "head": [
        lambda: DigitsNet(4, 3, 4, "batch", "relu"),
        lambda: Small(4, 3, (8, 8), 4, (1, 2), "none", "silu"),
    ],
    "logits": [lambda: DMWRN(4, 3, 10, 1, "silu", 0.1)],
    "linear": [lambda: PreActResNet18(4, 3, "raw", True, "relu", 0.1)],
    "fc": [lambda: WRN(4, 3, 10, 1, "standard", "batch", 0.1)],
    "class_output": [lambda: WRN(4, 3, 10, 1, "jem", "none", 0.1)],
}
"""Nets of harness.models, by the name of their last layer."""

TIMM = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet", "mobilenetv3_small_050")


def model(net, channels=3):
    return EnergyModel(net, [0.5] * channels, [0.25] * channels).eval()


def images(n, side=8, channels=3, seed=0):
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(seed))


def drawn(n, dims, seed, classes=3):
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    return torch.randn(n, dims, generator=rng) @ torch.randn(dims, dims, generator=rng) + labels[:, None], labels


@pytest.mark.parametrize(("name", "number"), [(name, i) for name, nets in NETS.items() for i in range(len(nets))])
def test_the_last_layer_of_each_net_is_found_and_its_input_gives_the_logits(name, number):
    of, x = model(NETS[name][number]()), images(5)
    layer = head(of, x[:1])
    assert layer is of.net.get_submodule(name)
    features = penultimate(of, layer, x)
    assert features.shape == (5, layer.in_features)
    torch.testing.assert_close(features @ layer.weight.T + layer.bias, of(x))
    assert not layer._forward_pre_hooks and not layer._forward_hooks


@pytest.mark.parametrize("name", TIMM)
def test_features_of_timms_nets_are_those_that_timm_calls_pre_logits(name):
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=4)
    of, x = model(net), images(2, 160)
    features = penultimate(of, head(of, x[:1]), x)
    with torch.no_grad():
        expected = net.forward_head(net.forward_features((x - 0.5) / 0.25), pre_logits=True)
    torch.testing.assert_close(features, expected.flatten(1))


def test_a_head_that_is_a_convolution_counts():
    net = nn.Sequential(nn.Conv2d(3, 6, 8), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten())
    of, x = model(net), images(5)
    assert head(of, x[:1]) is net[2]
    torch.testing.assert_close(penultimate(of, net[2], x), net[:2]((x - 0.5) / 0.25).flatten(1))


class TwoHeads(nn.Module):
    """A net whose logits are the mean of two heads, as of a distilled transformer."""

    def __init__(self):
        super().__init__()
        self.flat, self.one, self.other = nn.Flatten(), nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, x):
        return (self.one(self.flat(x)) + self.other(self.flat(x))) / 2


@pytest.mark.parametrize(
    "net",
    [
        TwoHeads(),
        nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten(), nn.ReLU()),
        nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
)
def test_other_nets_have_none(net):
    assert head(model(net, 1), images(1, channels=1)) is None


def test_micro_batches_and_training_mode_change_no_feature():
    net = DigitsNet(4, 3, 4, "batch", "relu")
    whole, parted, x = model(net), model(InMicroBatches(net, 2)), images(5)
    expected = penultimate(whole, head(whole, x[:1]), x)
    parted.train()
    torch.testing.assert_close(penultimate(parted, head(parted, x[:1]), x), expected)
    assert net.norm0.training and net.norm0.num_batches_tracked == 0


def test_knn_is_sklearns_distance_to_the_kth_neighbour():
    (bank, _), (features, _) = drawn(300, 7, 1), drawn(40, 7, 2)
    unit_length = [x.numpy() / np.linalg.norm(x.numpy(), axis=1, keepdims=True) for x in (bank, features)]
    found = NearestNeighbors(n_neighbors=6).fit(unit_length[0]).kneighbors(unit_length[1])[0]
    np.testing.assert_allclose(knn_score(features, unit(bank), 6), -found[:, -1], atol=1e-6)


@pytest.mark.parametrize(("n", "dims"), [(300, 7), (20, 30)])
def test_mahalanobis_is_that_of_sklearns_empirical_covariance(n, dims):
    """Also with fewer images than features, where the covariance has no inverse."""
    (training, labels), (features, _) = drawn(n, dims, 1), drawn(40, dims, 2)
    x = training.double().numpy()
    means = np.stack([x[labels == label].mean(0) for label in range(3)])
    shared = EmpiricalCovariance(assume_centered=True).fit(x - means[labels])
    apart = features.double().numpy()[:, None] - means
    expected = -np.einsum("nkd,de,nke->nk", apart, shared.precision_, apart).min(1)
    np.testing.assert_allclose(mahalanobis_score(features, *whitening(training, labels)), expected, rtol=1e-6)


FIELDS = {
    "split": "test",
    "sets": {"between": {"name": "midpoints", "seed": 5}, "noise": {"name": "noise"}, "blobs": {"name": "fields"}},
    "near": ["between"],
    "far": ["blobs", "noise"],
    "scores": ["msp", "knn", "mahalanobis"],
    "count": 30,
    "chunk": 12,
    "neighbours": 4,
    "fitted": 400,
}


def metric(**changes):
    return make(find("metric", "suites"), "protocol.metrics.suites", {**FIELDS, **changes})


def measured(how, of):
    return how.merge(of, [how.score(of, shard) for shard in range(how.shards(of))]).scores


@pytest.fixture
def subject(digits, digits_net):
    return Subject(digits_net().eval().requires_grad_(False), digits, CPU, samples=None, cache=None)


def test_each_score_separates_the_split_from_the_first_starts(subject, digits):
    found = measured(metric(), subject)
    below, data = nn.Sequential(*[*subject.model.net][:-1]), digits.tensors("test")[0]
    rows = [place * 1257 // 400 for place in range(400)]
    training, labels = (part[rows] for part in digits.tensors("train"))

    def features(x):
        return below((x - 0.5) / 0.5)

    sets = {"near/between": Midpoints(digits, seed=5).starts(range(30)), "far/noise": Noise(digits).starts(range(30))}
    fitted = unit(features(training)), *whitening(features(training), labels)
    for name, outliers in sets.items():
        x = torch.cat([data, outliers])
        values = {
            "msp": subject.model(x).softmax(1).amax(1),
            "knn": knn_score(features(x), fitted[0], 4),
            "mahalanobis": mahalanobis_score(features(x), *fitted[1:]),
        }
        for scorer, value in values.items():
            score = found[f"suites/{name}/{scorer}/auroc"]
            assert score.value == pytest.approx(100 * roc_auc_score([1] * len(data) + [0] * 30, value), abs=0.02)
            assert score.low < score.value <= score.high and score.n == 30
            threshold = value[: len(data)].sort(descending=True).values[342 - 1]  # 342 is 95 % of 360
            passed = 100 * float((value[len(data) :] >= threshold).float().mean())
            assert found[f"suites/{name}/{scorer}/fpr95"].value == pytest.approx(passed)


def test_columns_are_means_over_near_and_over_far_sets(subject):
    found = measured(metric(), subject)
    for suite, names in (("near", ["between"]), ("far", ["blobs", "noise"])):
        for scorer in FIELDS["scores"]:
            mean = found[f"suites/{suite}/{scorer}"]
            for bound in ("value", "low", "high"):
                of_sets = [getattr(found[f"suites/{suite}/{name}/{scorer}/auroc"], bound) for name in names]
                assert getattr(mean, bound) == pytest.approx(np.mean(of_sets))
            assert mean.table == f"OOD detection, {suite}" and mean.n == 30 * len(names)
        headline = found[f"ood_auroc_{suite}"]
        assert (headline.title, headline.table) == (f"OOD AUROC, {suite} (msp)", "")
        assert headline.value == found[f"suites/{suite}/msp"].value and not headline.warnings


def test_shards_change_nothing_and_the_fit_is_shared(subject):
    ours = measured(metric(), subject)
    assert measured(metric(chunk=7), subject) == ours
    kept = {}

    def keep(name, fit):
        return kept[name] if name in kept else kept.setdefault(name, fit())

    shared = Subject(subject.model, subject.data, CPU, samples=None, cache=None, keep=keep)
    assert measured(metric(), shared) == ours
    assert len(kept) == 1


def test_a_net_without_such_features_lacks_their_scores_and_says_why(digits):
    of = Subject(model(TwoHeads(), 1), digits, CPU, samples=None, cache=None)
    found = measured(metric(), of)
    assert not any("knn" in key or "mahalanobis" in key for key in found)
    assert found["ood_auroc_near"].warnings == [f"no knn or mahalanobis score: {NO_HEAD}"]
    assert found["ood_auroc_near"].value == found["suites/near/msp"].value


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"count": 0}, "count, chunk and neighbours must be 1 or more"),
        ({"neighbours": 0}, "count, chunk and neighbours must be 1 or more"),
        ({"fitted": 3}, "fitted must be as many as neighbours"),
        ({"far": []}, "near, far and scores need one entry"),
        ({"far": ["noise"]}, r"\(between, noise, blobs\) must be in near or in far, once"),
        ({"near": ["between", "noise"]}, "must be in near or in far, once"),
        ({"scores": ["knn", "msp"]}, "one that every net has: energy, msp, gradient"),
        ({"scores": ["vim"]}, r"protocol\.metrics\.suites\.scores\.0"),
        ({"sets": {**FIELDS["sets"], "noise": {"seed": 1}}}, r"sets\.noise has no name"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, problem):
    with pytest.raises(UserError, match=problem):
        metric(**changes)


def test_missing_files_and_too_few_images_are_found_beforehand(digits, tmp_path):
    svhn = {"name": "svhn", "root": str(tmp_path)}
    how = metric(sets={**FIELDS["sets"], "numbers": svhn}, far=["blobs", "noise", "numbers"])
    with pytest.raises(UserError, match=r"OOD set 'numbers', with protocol\.metrics\.suites\.sets\.numbers in place"):
        how.ready(digits, None, {})
    on_disk.svhn(tmp_path)
    with pytest.raises(UserError, match="count=30: the OOD set 'numbers' has 15 images"):
        how.ready(digits, None, {})
    with pytest.raises(UserError, match="neighbours=2000: the train split has 1257 images"):
        metric(neighbours=2000, fitted=None).ready(digits, None, {})


def test_midpoints_are_means_of_two_training_images_of_different_classes(digits):
    source, (pictures, labels) = Midpoints(digits, count=40), digits.tensors("train")
    starts = source.starts(range(3))
    assert (source.starts([2])[0] == starts[2]).all() and starts.shape == (3, *digits.shape)
    for start in starts:
        # The other image is what the first leaves of twice the midpoint.
        rest = (2 * start - pictures).flatten(1)
        apart = torch.cdist(rest.double(), pictures.flatten(1).double())
        first, second = divmod(int(apart.argmin()), len(labels))
        assert apart.min() < 1e-5 and labels[first] != labels[second]
    trained = {image.numpy().tobytes() for image in source.images([(index, 0) for index in range(40)])}
    assert len(source) == 40 and not trained & {image.numpy().tobytes() for image in source.starts(range(40))}
    with pytest.raises(ValueError, match="count must be between"):
        Midpoints(digits, count=0)
