"""OOD detection: energy, MSP and approximate mass equal their formulas, AUROC and FPR95 their definitions."""

from dataclasses import replace

import by_hand
import numpy as np
import on_disk
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn

from harness.core.dataset import Dataset, TensorView
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged, UserError
from harness.core.registry import find, make
from harness.datasets.cifar import CIFAR10, STRONG
from harness.datasets.outliers.noise import Noise
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.ood import accept, auroc
from harness.evaluation.ood_scores import log_odds, ood_score
from harness.evaluation.parts import read_part, write_part

CPU = torch.device("cpu")

FIELDS = {
    "split": "test",
    "sets": {"noise": {"name": "noise", "seed": 5}, "blobs": {"name": "fields"}},
    "scores": ["energy", "msp", "gradient"],
    "count": 30,
    "chunk": 12,
    "seed": 0,
}


def metric(**changes):
    return make(find("metric", "ood"), "protocol.metrics.ood", {**FIELDS, **changes})


def subject(model, data):
    return Subject(model, data, CPU, samples=None, cache=None)


def parts(how, of):
    return [how.score(of, shard) for shard in range(how.shards(of))]


def measured(how, of):
    return how.merge(of, parts(how, of)).scores


scores = st.lists(st.integers(0, 6).map(float) | st.floats(-5, 5, width=32), min_size=1, max_size=60).map(np.array)


@given(scores, scores)
def test_auroc_is_the_share_of_pairs_in_order_where_ties_count_half(data, outliers):
    pairs = [(x > y) + (x == y) / 2 for x in data for y in outliers]
    labels = [1] * len(data) + [0] * len(outliers)
    assert auroc(data, outliers) == pytest.approx(np.mean(pairs))
    assert auroc(data, outliers) == pytest.approx(roc_auc_score(labels, [*data, *outliers]))


@given(scores, scores)
def test_fpr95_is_the_share_of_outliers_accepted_where_at_least_95_percent_of_the_data_are(data, outliers):
    lawful = [t for t in data if 100 * sum(x >= t for x in data) >= 95 * len(data)]
    assert accept(data, outliers) == sum(y >= max(lawful) for y in outliers)
    labels = [1] * len(data) + [0] * len(outliers)
    false, true, _ = roc_curve(labels, [*data, *outliers], drop_intermediate=False)
    assert accept(data, outliers) / len(outliers) == pytest.approx(false[np.argmax(true >= 0.95 - 1e-12)])


def test_fpr95_by_hand():
    data = np.arange(1.0, 41)  # 38 of 40 are at least 3
    assert accept(data, np.array([2.0, 2.9, 3.0, 99.0])) == 2


def test_energy_and_msp_are_functions_of_the_logits(net, images):
    small = by_hand.Net(net)
    logits = small.logits(images.numpy())
    p = by_hand.softmax(logits).max(1)
    np.testing.assert_allclose(ood_score(net, images, "energy"), by_hand.logsumexp(logits), rtol=1e-12)
    np.testing.assert_allclose(ood_score(net, images, "msp"), np.log(p / (1 - p)), rtol=1e-10)


def test_the_score_of_the_gradient_is_its_negative_length(net, images):
    small = by_hand.Net(net)
    gradient = small.gradient(images.numpy(), by_hand.softmax(small.logits(images.numpy())))
    expected = -np.sqrt((gradient**2).sum((1, 2, 3)))
    np.testing.assert_allclose(ood_score(net, images, "gradient"), expected, rtol=1e-10)
    assert not images.requires_grad


def test_msp_tells_probabilities_apart_that_float32_rounds_to_one():
    logits = torch.tensor([[40.0, 0.0, 1.0], [50.0, 0.0, 1.0]])
    assert (logits.softmax(1).amax(1) == 1).all()
    assert log_odds(logits)[1] - log_odds(logits)[0] == pytest.approx(10)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Dropout(0.5), nn.Linear(32, 10))
    return EnergyModel(layers, [0.5], [0.25])  # in training mode: dropout must not affect the scores


def test_the_scores_are_those_of_the_whole_split_and_the_first_starts(model, digits):
    found = measured(metric(), subject(model, digits))
    data, noise = digits.tensors("test")[0], Noise(digits, seed=5).starts(range(30))
    model.eval()
    x = torch.cat([data, noise]).requires_grad_()
    logits = model(x)
    (gradient,) = torch.autograd.grad(logits.exp().sum(1).log().sum(), x)
    values = {"energy": logits.exp().sum(1).log(), "msp": logits.softmax(1).amax(1)}
    values["gradient"] = -gradient.square().sum((1, 2, 3)).sqrt()
    model.train()
    labels = [1] * len(data) + [0] * 30
    for name, value in values.items():
        area, false = found[f"ood/noise/{name}/auroc"], found[f"ood/noise/{name}/fpr95"]
        assert area.value == pytest.approx(100 * roc_auc_score(labels, value.detach()))
        ours = value[: len(data)].detach().sort(descending=True).values[342 - 1]  # 342 is 95 % of 360
        assert false.value == pytest.approx(100 * (value[len(data) :] >= ours).float().mean().item())
        assert (area.title, false.title) == (f"AUROC {name}", f"FPR95 {name}")
        assert (area.better, false.better, area.unit, area.n) == ("higher", "lower", "%", 30)
        assert area.low < area.value < area.high
        assert area.high - area.low < 25
        assert area.table == false.table == "OOD detection, noise"


def test_the_headline_is_the_mean_over_the_sets_of_the_first_score(model, digits):
    for first in ("energy", "msp"):
        found = measured(metric(scores=[first, "gradient"]), subject(model, digits))
        headline = found["ood_auroc"]
        areas = [found[f"ood/{name}/{first}/auroc"] for name in ("noise", "blobs")]
        assert areas[0].value != areas[1].value
        for figure in ("value", "low", "high"):
            assert getattr(headline, figure) == pytest.approx(sum(getattr(area, figure) for area in areas) / 2)
        assert (headline.title, headline.n, headline.table) == (f"OOD AUROC ({first})", 60, "")
        assert "ood_auroc_attacked" not in found
        assert next(iter(found)) == "ood_auroc"


def test_the_headline_under_attack_is_the_mean_over_the_sets_of_the_lowest(model, digits):
    how = metric(
        scores=["energy"], pgd={"steps": 1, "step": 0.1, "eps": 0.1}, apgd={"steps": 5, "restarts": 1, "eps": 0.1}
    )
    found = measured(how, subject(model, digits))
    lowest = [min(found[f"ood/{name}/energy/{a}/auroc"].value for a in ("pgd", "apgd")) for name in ("noise", "blobs")]
    headline = found["ood_auroc_attacked"]
    assert headline.value == pytest.approx(sum(lowest) / 2)
    assert headline.value < found["ood_auroc"].value
    assert (headline.title, headline.n, headline.table) == ("OOD AUROC, attacked", 60, "")
    assert found["ood/noise/energy/apgd/fpr95"].title == "FPR95 energy, APGD"


def test_the_order_of_sets_and_the_size_of_chunks_change_nothing(model, digits):
    of = subject(model, digits)
    ours = measured(metric(), of)
    assert measured(metric(sets=dict(reversed(FIELDS["sets"].items())), chunk=7), of) == ours
    assert metric(chunk=7).shards(of) == 1 + 2 * 5


def test_parts_survive_the_disk(model, digits, tmp_path):
    how, of = metric(pgd={"steps": 1, "step": 0.1, "eps": 0.1}), subject(model, digits)
    found = parts(how, of)
    for shard, part in enumerate(found):
        write_part(tmp_path / f"{shard}.json", {"seconds": 1.5, **part}, {})
    stored = [read_part(tmp_path / f"{shard}.json") for shard in range(len(found))]
    assert how.merge(of, stored) == how.merge(of, found)


def test_a_score_that_tells_nothing_apart_has_an_area_of_one_half(digits):
    constant = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), [0.5], [0.5])
    nn.init.zeros_(constant.net[1].weight)
    found = measured(metric(apgd={"steps": 3, "restarts": 1, "eps": 0.5}), subject(constant, digits))
    assert {score.value for key, score in found.items() if "auroc" in key} == {50}
    assert {score.value for key, score in found.items() if "fpr95" in key} == {100}


class Overflow(nn.Module):
    """A net whose logits are infinite for bright images."""

    def forward(self, x):
        return 1e38 * 10 ** x.mean((2, 3)).expand(-1, 10)


def test_a_score_that_is_not_finite_is_a_divergence():
    images = torch.tensor([0.0, 0.9, 1.0]).view(3, 1, 1, 1)
    with pytest.raises(Diverged, match="the energy score of 2 of 3 images is not finite"):
        ood_score(EnergyModel(Overflow(), [0.0], [1.0]), images, "energy")


class Pixels(nn.Module):
    """A net whose two logits are plus and minus the brightness."""

    def forward(self, x):
        return torch.stack([x.flatten(1).sum(1), -x.flatten(1).sum(1)], 1)


class Few(Dataset):
    """A dataset of a few images, with the preprocessing of CIFAR-10."""

    def __init__(self, cifar):
        self.cifar, self.pictures = cifar, torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    classes, shape = ("a", "b"), (3, 32, 32)

    def view(self, split, branch):
        return TensorView(self.pictures, self.labels(split))

    def labels(self, split):
        return torch.zeros(4, dtype=torch.long)

    def prepare(self, image, branch, seed):
        return self.cifar.prepare(image, branch, seed)


def test_outliers_are_judged_as_they_are_whatever_a_method_trains_against(tmp_path):
    sets = {"svhn": {"name": "svhn", "root": str(on_disk.svhn(tmp_path))}}
    how = metric(sets=sets, count=15, chunk=15)
    plain, strong = (
        subject(EnergyModel(Pixels(), [0.0], [1.0]), Few(c)) for c in (CIFAR10(), CIFAR10(outliers=STRONG))
    )
    assert np.array_equal(how.score(plain, 1)["energy"], how.score(strong, 1)["energy"])


def test_missing_files_of_a_set_are_found_beforehand(digits, tmp_path):
    how = metric(sets={"noise": {"name": "noise"}, "numbers": {"name": "svhn", "root": str(tmp_path)}}, count=15)
    with pytest.raises(UserError) as caught:
        how.ready(digits, None, {})
    for part in (
        "OOD set 'numbers'",
        "protocol.metrics.ood.sets.numbers in place of outliers",
        str(tmp_path),
        "train_32x32.mat",
    ):
        assert part in str(caught.value)
    on_disk.svhn(tmp_path)
    how.ready(digits, None, {})
    with pytest.raises(UserError, match="count=16: the OOD set 'numbers' has 15 images"):
        replace(how, count=16).ready(digits, None, {})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"count": 0}, "count and chunk must be 1 or more"),
        ({"chunk": 0}, "count and chunk must be 1 or more"),
        ({"sets": {}}, "sets and scores need one entry"),
        ({"scores": []}, "sets and scores need one entry"),
        ({"sets": {"noise": {"seed": 1}}}, r"sets\.noise has no name"),
        ({"scores": ["entropy"]}, r"protocol\.metrics\.ood\.scores\.0: .*'energy'"),
        ({"scores": ["gradient"], "pgd": {"steps": 1, "step": 0.1, "eps": 1}}, "it must be energy or msp"),
        ({"pgd": {"steps": 0, "step": 0.1, "eps": 1}}, r"ood\.pgd: steps must be 1 or more"),
        ({"pgd": {"steps": 1, "step": 0.1, "eps": 0}}, r"ood\.pgd: .* eps above 0"),
        ({"pgd": {"steps": 1, "step": 0.1, "eps": 1, "norm": "linf"}}, r"ood\.pgd\.norm: there is no such field"),
        ({"apgd": {"steps": 1, "restarts": 0, "eps": 1}}, r"ood\.apgd: steps and restarts must be 1 or more"),
        ({"apgd": {"steps": 1, "restarts": 1, "eps": -1}}, r"ood\.apgd: .* eps above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, problem):
    with pytest.raises(UserError, match=problem):
        metric(**changes)


def test_a_set_with_a_wrong_field_is_refused_where_it_stands(digits):
    with pytest.raises(UserError, match=r"protocol\.metrics\.ood\.sets\.noise\.size: there is no such field"):
        metric(sets={"noise": {"name": "noise", "size": 3}}).ready(digits, None, {})
    with pytest.raises(UserError, match="no outliers called 'nois'"):
        metric(sets={"noise": {"name": "nois"}}).ready(digits, None, {})


def test_a_metric_that_has_seen_other_data_makes_its_sets_anew(model, digits):
    how, coloured = metric(), subject(EnergyModel(Pixels(), [0.0], [1.0]), Few(CIFAR10()))
    how.score(subject(model, digits), 1)
    assert np.array_equal(how.score(coloured, 1)["energy"], metric().score(coloured, 1)["energy"])
