"""Robust accuracy equals that of AutoAttack's standard version, image by image; its warnings are kept."""

import logging
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from given_images import Few
from hypothesis import given
from hypothesis import strategies as st
from pyautoattack import AutoAttack
from torch import nn

from harness.core.energy import EnergyModel, InMicroBatches
from harness.core.errors import UserError
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.robustness import STANDARD, Robustness

CPU = torch.device("cpu")
CHUNK = 12


class Changed(nn.Module):
    """A net that applies the function `change` to its logits."""

    def __init__(self, net, change):
        super().__init__()
        self.net, self.change = net, change

    def forward(self, x):
        return self.change(self.net(x))


@pytest.fixture(scope="module")
def undefended(digits):
    """A small net, trained without a defence for about a second."""
    torch.manual_seed(0)
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)), [0.5], [0.5])
    images, labels = digits.tensors("train")
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(8):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def subject(model, digits, n=24, classes=10):
    images, labels = digits.tensors("test")
    chosen = (labels < classes).nonzero()[:n, 0]
    return Subject(model, Few(images[chosen], labels[chosen], classes), CPU, samples=None, cache=None)


def measured(metric, of):
    return metric.merge(of, [metric.score(of, shard) for shard in range(metric.shards(of))])


def directly(metric, of, targets):
    """Call AutoAttack once per chunk, as its authors do: the adversarial images, and the outcomes as 1 and 0."""
    adversarial, outcome = [], ""
    images, labels = of.data.tensors("test")
    for x, y in zip(images.split(metric.chunk), labels.split(metric.chunk), strict=True):
        attack = AutoAttack(of.model, norm=metric.norm, eps=metric.eps, seed=metric.seed, version="standard")
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
        attacked, predicted = attack.run_standard_evaluation(x, y, batch_size=metric.chunk)
        adversarial.append(attacked)
        outcome += "".join(str(int(one)) for one in predicted == y)
    return torch.cat(adversarial), outcome


def direct(metric, of, targets):
    return directly(metric, of, targets)[1]


def metric(eps, norm="L2"):
    return Robustness(split="test", norm=norm, eps=eps, targets=9, chunk=CHUNK, seed=3)


@pytest.fixture
def short(monkeypatch):
    """Limit the iterations of every AutoAttack instance; the full attack takes seconds per chunk."""
    whole = AutoAttack._set_version

    def shortened(self, version="standard"):
        whole(self, version)
        self.apgd.n_iter = self.apgd_targeted.n_iter = self.fab.n_iter = 10
        self.square.n_queries = 100

    monkeypatch.setattr(AutoAttack, "_set_version", shortened)


def test_an_image_ends_as_in_a_direct_run_of_the_whole_of_autoattack(undefended, digits):
    of, how = subject(undefended, digits, n=CHUNK), metric(0.5)
    attacked, part = how.attack(of, 0)
    adversarial, outcome = directly(how, of, targets=9)
    assert torch.equal(attacked, adversarial)
    assert part["outcomes"]["square"] == outcome
    assert 0 < outcome.count("1") < CHUNK, "some must be robust and some must not"


@pytest.mark.parametrize(("norm", "eps", "key"), [("L2", 0.5, "l2_0.5"), ("Linf", 0.1, "linf_0.1")])
def test_each_image_of_each_chunk_ends_as_in_a_direct_run(undefended, digits, short, norm, eps, key):
    of, how = subject(undefended, digits), metric(eps, norm)
    assert how.shards(of) == 2
    result = measured(how, of)
    outcomes = {name: result.outcomes[f"{key}/{name}"] for name in STANDARD}
    assert outcomes["square"] == direct(how, of, targets=9)
    assert 0 < outcomes["square"].count("1") < 24, "some must be robust and some must not"
    for before, after in pairwise(STANDARD):
        assert all(b == "1" for b, a in zip(outcomes[before], outcomes[after], strict=True) if a == "1")
    score = result.scores[f"robust_accuracy/{key}"]
    assert (score.value, score.n) == (100 * outcomes["square"].count("1") / 24, 24)


def test_the_last_chunk_may_be_short(undefended, digits, short):
    of, how = subject(undefended, digits, n=14), metric(1.0)
    assert how.shards(of) == 2
    assert measured(how, of).outcomes["l2_1/square"] == direct(how, of, targets=9)


@pytest.mark.parametrize("size", [16, 100])
@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_micro_batches_change_nothing(undefended, digits, short, norm, size):
    how = Robustness(split="test", norm=norm, eps={"L2": 0.5, "Linf": 0.1}[norm], targets=9, chunk=40, seed=3)
    micro = EnergyModel(InMicroBatches(undefended.net, size), [0.5], [0.5]).eval()
    whole, apart = how.attack(subject(undefended, digits, n=40), 0), how.attack(subject(micro, digits, n=40), 0)
    assert whole[1] == apart[1]
    assert torch.allclose(whole[0], apart[0], atol=1e-5)


def test_a_net_in_micro_batches_sees_no_more_than_so_many_images_at_once(undefended):
    seen = []
    undefended.net.register_forward_pre_hook(hook := lambda _, inputs: seen.append(len(inputs[0])))
    x = torch.rand(40, 1, 8, 8, requires_grad=True)
    net = InMicroBatches(undefended.net, 16)
    (gradient,) = torch.autograd.grad(net(x).square().sum(), x)
    undefended.net._forward_pre_hooks.clear()
    (expected,) = torch.autograd.grad(undefended.net(x).square().sum(), x)
    assert torch.allclose(gradient, expected, rtol=1e-4)
    assert hook and max(seen) == 16


def test_what_is_left_is_told_on_the_way(undefended, digits, short):
    said = []
    of = subject(undefended, digits)
    object.__setattr__(of, "tell", said.append)
    how = metric(0.5)
    part = how.score(of, 0)
    assert said[0].startswith("apgd-ce: ") and said[0].endswith("of 12 stand")
    standing = part["outcomes"]["square"].count("1")
    assert how.summary(of, [part]) == f"{100 * standing / 12:.1f} % robust so far, 12 images left"


def test_an_undefended_net_falls_at_a_large_radius_of_either_norm(undefended, digits, short):
    score = measured(metric(0.5, "Linf"), subject(undefended, digits)).scores["robust_accuracy/linf_0.5"]
    assert score.value == 0


def test_an_undefended_net_falls_at_a_large_radius(undefended, digits):
    of = subject(undefended, digits)
    with torch.no_grad():
        images, labels = of.data.tensors("test")
        assert (undefended(images).argmax(1) == labels).float().mean() > 0.9
    score = measured(metric(2.5), of).scores["robust_accuracy/l2_2.5"]
    assert score.value == 0
    assert score.high < 20


def test_fewer_classes_than_targets_are_attacked_with_all_there_are(undefended, digits, short):
    four = EnergyModel(Changed(undefended.net, lambda logits: logits[:, :4]), [0.5], [0.5]).eval()
    of, how = subject(four, digits, classes=4), metric(0.8)
    result = measured(how, of)
    assert result.outcomes["l2_0.8/square"] == direct(how, of, targets=3)
    assert not any("target" in warning for warning in result.scores["robust_accuracy/l2_0.8"].warnings)


@pytest.mark.parametrize(("classes", "eps"), [(2, 1.5), (3, 0.8)])
def test_two_or_three_classes_are_attacked_without_the_loss_that_needs_four(undefended, digits, short, classes, eps):
    few = EnergyModel(Changed(undefended.net, lambda logits: logits[:, :classes]), [0.5], [0.5]).eval()
    result = measured(metric(eps), subject(few, digits, n=12, classes=classes))
    outcomes, key = result.outcomes, f"l2_{eps}"
    assert outcomes[f"{key}/apgd-t"] == outcomes[f"{key}/apgd-ce"]
    assert 0 < outcomes[f"{key}/square"].count("1") < 12
    assert any("APGD-T was left out" in warning for warning in result.scores[f"robust_accuracy/{key}"].warnings)


def test_no_number_of_targets_means_all_other_classes(undefended, digits):
    of, every = subject(undefended, digits), Robustness("test", "L2", 0.5, targets=None, chunk=12, seed=0)
    assert every.autoattack(of).apgd_targeted.n_target_classes == 9


def test_radii_of_255ths_are_written_so():
    assert Robustness("test", "Linf", 8 / 255, 9, 12, 0)._radius == "8/255"
    assert Robustness("test", "L2", 0.5, 9, 12, 0)._radius == "0.5"
    assert Robustness("test", "L2", 3.0, 9, 12, 0)._radius == "3"


def test_results_repeat(undefended, digits, short):
    of, how = subject(undefended, digits, n=12), metric(0.5)
    first = how.score(of, 0)
    torch.randn(5)
    assert how.score(of, 0) == first


def test_warnings_of_zero_gradients_are_kept_and_not_printed(undefended, digits, caplog):
    # Rounded logits have no gradient; Square, which needs none, breaks images that the other attacks could not.
    rounded = EnergyModel(Changed(undefended.net, torch.round), [0.5], [0.5]).eval()
    of = subject(rounded, digits, n=12)
    with caplog.at_level(logging.WARNING):
        result = measured(metric(1.5), of)
    assert caplog.text == ""
    score = result.scores["robust_accuracy/l2_1.5"]
    assert any("zero gradient" in warning for warning in score.warnings)
    assert any("Square Attack" in warning for warning in score.warnings)
    assert score.value < 100 * result.outcomes["l2_1.5/fab-t"].count("1") / 12


def test_a_warning_of_probabilities_for_logits_is_kept(undefended, digits):
    soft = EnergyModel(Changed(undefended.net, lambda logits: logits.softmax(1)), [0.5], [0.5]).eval()
    part = metric(4.0).score(subject(soft, digits, n=6), 0)
    assert any("probability distribution" in warning for warning in part["warnings"])


def test_an_image_misclassified_from_the_start_never_stands(undefended, digits):
    wrong = EnergyModel(Changed(undefended.net, torch.neg), [0.5], [0.5]).eval()
    part = metric(0.5).score(subject(wrong, digits, n=6), 0)
    assert part == {"outcomes": dict.fromkeys(("clean", *STANDARD), "000000"), "warnings": []}


@pytest.mark.usefixtures("short")
def test_some_of_the_attacks_are_those_of_the_whole_and_are_named(undefended, digits):
    of, whole = subject(undefended, digits), metric(0.5)
    some = replace(whole, attacks=("apgd-ce", "apgd-t"))
    found, all_of_it = measured(some, of), measured(whole, of)
    assert found.outcomes == {
        f"l2_0.5_apgd-ce_apgd-t/{name}": all_of_it.outcomes[f"l2_0.5/{name}"] for name in ("apgd-ce", "apgd-t")
    }
    ((key, score),) = found.scores.items()
    assert [key] == some.keys(of.data) == ["robust_accuracy/l2_0.5_apgd-ce_apgd-t"]
    assert score.title == "Robust accuracy (L2 0.5, APGD-CE and APGD-T)"
    assert score.value == 100 * found.outcomes["l2_0.5_apgd-ce_apgd-t/apgd-t"].count("1") / 24
    parts = [some.score(of, 0)]
    assert some.summary(of, parts).endswith("12 images left")


@pytest.mark.parametrize("attacks", [(), ("apgd-t", "apgd-ce"), ("square", "square")])
def test_attacks_are_named_once_and_in_order(attacks):
    with pytest.raises(ValueError, match="attacks must be"):
        replace(metric(0.5), attacks=attacks)


def test_attacks_that_the_classes_do_not_allow_are_refused(digits):
    with pytest.raises(UserError, match="APGD-T needs 4 classes"):
        replace(metric(0.5), attacks=("apgd-t",)).ready(subject(None, digits, classes=3).data, None, {})


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=80), count=st.integers(1, 80))
def test_a_balanced_subset_has_as_many_of_each_class_as_it_can(labels, count):
    data = Few(torch.zeros(len(labels), 1, 1, 1), torch.tensor(labels), 6)
    chosen = replace(metric(0.5), balanced=True, count=count)._indices(data)
    assert chosen == sorted(set(chosen)) and set(chosen) <= set(range(len(labels)))
    there, taken = Counter(labels), Counter(labels[index] for index in chosen)
    shares = [count // len(there) + (place < count % len(there)) for place in range(len(there))]
    assert [taken[label] for label in sorted(there)] == [
        min(there[label], share) for label, share in zip(sorted(there), shares, strict=True)
    ]


def test_a_balanced_subset_of_all_images_is_all_of_them():
    data = Few(torch.zeros(5, 1, 1, 1), torch.tensor([0, 0, 1, 0, 0]), 6)
    assert replace(metric(0.5), balanced=True, count=None)._indices(data) == [0, 1, 2, 3, 4]


def test_a_balanced_subset_is_spread_over_its_class(digits):
    whole = digits.labels("test")
    chosen = torch.tensor(replace(metric(0.5), balanced=True, count=100)._indices(digits))
    assert whole[chosen].bincount().tolist() == [10] * 10
    for label in range(10):
        places = (whole == label).nonzero().flatten().tolist()
        steps = [places.index(index) for index in chosen[whole[chosen] == label].tolist()]
        assert {b - a for a, b in pairwise(steps)} <= {len(places) // 10, len(places) // 10 + 1}
