"""Explanations: shares, sparsity, distance, stability and diversity equal independent derivations."""

from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.random import PerImage, derive
from harness.core.registry import make
from harness.core.walk import Walk, joint_logit, project, walk
from harness.evaluation.counterfactual import counterfactuals
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.counterfactuals import Counterfactuals
from harness.evaluation.metrics.explanations import Explanations, kid, kid_of_halves, sparsity
from harness.evaluation.samples import eight_bits

CPU = torch.device("cpu")
POWERS = {"L1": 1.0, "L1.5": 1.5, "L2": 2.0}
FIELDS = {"split": "train", "norm": "L1.5", "eps": 2.0, "steps": 4, "features": "digits", "noise": 0.3, "starts": 3}
FIELDS |= {"chunk": 60, "seed": 0, "count": 130}
KEY = "explanation_{}/l1.5_2".format


@pytest.fixture
def subject(digits, digits_net, tmp_path):
    return Subject(digits_net(width=8).eval(), digits, CPU, None, tmp_path)


def metric(**changes):
    return Explanations(**(FIELDS | changes))


def parts_of(metric, subject):
    return [metric.score(subject, shard) for shard in range(metric.shards(subject))]


def scores(metric, subject):
    return metric.merge(subject, parts_of(metric, subject)).scores


def test_the_figures_are_those_of_the_walked_images(subject):
    """Each score, computed again from the 8-bit images that the judge sees and from the changes, image by image."""
    found = scores(metric(), subject)
    indices = [index * 1257 // 130 for index in range(130)]
    images, labels = subject.images("train", indices)
    target = Counterfactuals("train", (2.0,), 4, None, 60, 0).targets(subject.data, indices)
    assert (target != labels).all()
    walked = counterfactuals(subject.model, images, target, 2.0, 4, "L1.5").images
    # What both classifiers see.
    judge = subject.features("digits")(eight_bits(walked))["logits"].argmax(1)
    agreed, reached = (float((seen == target).float().mean()) for seen in (judge, subject.model(walked).argmax(1)))
    assert 0 < agreed < 1 and 0 < reached < 1 and agreed != reached
    assert found[KEY("agreement")].value == pytest.approx(100 * agreed)
    assert found[KEY("reached")].value == pytest.approx(100 * reached)
    # The change of a noisy copy, and of random starts.
    normal = PerImage([derive(0, "noise", index) for index in indices]).normal(images)
    noisy = (images + 0.3 * nn.functional.normalize(normal.flatten(1)).view_as(images)).clamp(0, 1)
    assert (noisy - images).flatten(1).norm(dim=1).max() <= 0.3 + 1e-6
    other = counterfactuals(subject.model, noisy, target, 2.0, 4, "L1.5").images
    how = Walk(4, 2.5 * 2.0 / 4, eps=2.0, norm="l1.5")
    starts = [PerImage([derive(0, f"start {turn}", i) for i in indices]).normal(images) for turn in range(3)]
    far = [_onto_border(images, start) for start in starts]
    ends = [walk(subject.model, start, joint_logit(target), how, centre=images) for start in far]
    by_image = {"sparsity": [], "sensitivity": [], "cosine": [], "diversity": []}
    for i in range(130):
        a, b = (walked[i] - images[i]).flatten().numpy(), (other[i] - noisy[i]).flatten().numpy()
        by_image["sparsity"].append(100 * _pixels(a) / 64)
        by_image["sensitivity"].append(np.linalg.norm(b - a) / np.linalg.norm((noisy[i] - images[i]).numpy()))
        by_image["cosine"].append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        by_image["diversity"].append(np.mean([float((x[i] - y[i]).norm()) for x, y in combinations(ends, 2)]))
    for name, values in by_image.items():
        score = found[KEY(name)]
        assert score.value == pytest.approx(np.mean(values), rel=1e-3), name
        half = 1.9785 * np.std(values, ddof=1) / np.sqrt(130)  # Student's t for 129 degrees of freedom
        assert score.high - score.value == pytest.approx(half, rel=1e-2), name
    assert found[KEY("agreement")].table == "" and found[KEY("cosine")].table == "Explanations, L1.5 2"


def _onto_border(images, normal):
    """The points of the ball and the box that are nearest to images with noise of the radius in each pixel."""
    found = project(images + 2.0 * normal, images, Walk(1, 1.0, eps=2.0, norm="l1.5"))
    assert ((found - images).abs().pow(1.5).flatten(1).sum(1).pow(1 / 1.5) > 1.99).all()
    return found


def _pixels(change):
    """How many of the largest values hold 90 % of the sum, counted one by one."""
    left, count = 0.9 * np.abs(change).sum(), 0
    for size in sorted(np.abs(change), reverse=True):
        if left <= 0:
            break
        left, count = left - size, count + 1
    return count


@settings(max_examples=40)
@given(st.lists(st.integers(0, 50), min_size=12, max_size=12), st.lists(st.sampled_from([-1, 1]), min_size=12))
def test_sparsity_counts_pixels_whatever_their_signs(sizes, signs):
    values = torch.tensor(sizes, dtype=torch.double) * torch.tensor(signs[:12])
    colours = values.view(1, 2, 2, 3)  # two colours of six pixels
    size = colours[0].abs().sum(0).flatten()
    shares = [n / 6 for n in range(7) if size.topk(n).values.sum() >= 0.9 * size.sum() - 1e-9]
    assert float(sparsity(colours)) == pytest.approx(min(shares))


def test_sparsity_of_one_pixel_of_all_and_of_none():
    one, everywhere, none = torch.zeros(3, 1, 10, 10).unbind()
    one[0, 3, 4], everywhere[:] = -0.2, 0.1
    assert sparsity(torch.stack([one, everywhere, none])).tolist() == pytest.approx([0.01, 0.9, 0.0])


def test_kid_is_torch_fidelitys_and_unbiased():
    from torch_fidelity.metric_kid import kernel_mmd

    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 8, generator=rng, dtype=torch.double) for _ in range(2))
    options = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None}
    theirs = kernel_mmd(a.numpy(), (b + 0.5).numpy(), **options, kid_kernel_poly_coef0=1)
    assert kid(a, b + 0.5) == pytest.approx(theirs, rel=1e-9)
    same = [kid(*torch.randn(2, 5, 8, generator=rng, dtype=torch.double)) for _ in range(400)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 20, "of few images of one distribution it is 0 on average"


def test_walked_images_meet_real_images_of_their_target_in_the_other_half_only():
    rng = torch.Generator().manual_seed(0)
    n, features = 60, lambda: torch.randn(60, 4, generator=rng, dtype=torch.double)
    walked, real, halves = features(), features(), torch.rand(n, generator=rng) < 0.5
    labels, targets = (torch.randint(0, 3, (n,), generator=rng) for _ in range(2))
    distances = []
    for half in (True, False):
        for label in range(3):
            a = [walked[i] for i in range(n) if halves[i] == half and targets[i] == label]
            b = [real[i] for i in range(n) if halves[i] != half and labels[i] == label]
            k = lambda x, y: (float(x @ y) / 4 + 1) ** 3  # noqa: E731
            within = [np.mean([k(x, y) for i, x in enumerate(of) for j, y in enumerate(of) if i != j]) for of in (a, b)]
            distances.append(sum(within) - 2 * np.mean([k(x, y) for x in a for y in b]))
    assert kid_of_halves(walked, targets, real, labels, halves) == pytest.approx(np.mean(distances))


def test_the_distance_is_that_of_the_parts_and_smaller_for_real_images_of_the_target(subject):
    one = metric(count=260)
    parts = parts_of(one, subject)
    found = one.merge(subject, parts).scores[KEY("kid_digits")]
    labels, targets, halves = one._classes(subject.data)
    assert 100 < halves.sum() < 160
    walked, real = (torch.cat([torch.from_numpy(part[name]) for part in parts]) for name in ("walked", "real"))
    assert found.value == pytest.approx(1000 * kid_of_halves(walked, targets, real, labels, halves))
    assert found.low < found.value < found.high
    reals = 1000 * kid_of_halves(real, labels, real, labels, halves)
    assert abs(reals) < found.value / 5, "real images of a class are near other real images of it"


def test_a_change_that_is_the_same_everywhere_is_stable(digits):
    """The steps of a linear net are the same from any image, and these images are far from the box."""
    torch.manual_seed(0)
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), [0.5], [0.5]).eval()
    images, labels = 0.5 + 0.02 * torch.rand(40, 1, 8, 8), torch.arange(40) % 10
    subject = SimpleNamespace(
        model=model,
        device=CPU,
        data=SimpleNamespace(classes=digits.classes, length=lambda split: 40, labels=lambda split: labels),
        images=lambda split, indices: (images[indices], labels[indices]),
        features=lambda name: Extractor(),
    )
    for norm, eps in (("L1", 1.0), ("L1.5", 0.8), ("L2", 0.5)):
        (part,) = parts_of(metric(norm=norm, eps=eps, count=None, noise=0.05, steps=40), subject)
        np.testing.assert_allclose(part["cosine"], 1, atol=1e-4)
        np.testing.assert_allclose(part["sensitivity"], 0, atol=2e-3)
        # All starts lead to the same place, roughly; in L1, where each is of a few pixels, it takes longer.
        assert norm == "L1" or (part["diversity"].mean() < 0.5 * eps / POWERS[norm])


class Extractor:
    digest = "0"

    def __call__(self, images):
        return {"features": torch.zeros(len(images), 64), "logits": torch.zeros(len(images), 10)}


def test_the_figures_do_not_depend_on_the_chunks(subject):
    whole, apart = (scores(metric(chunk=chunk), subject) for chunk in (130, 33))
    assert list(whole) == list(apart)
    for key, score in whole.items():
        assert apart[key].value == pytest.approx(score.value, rel=1e-3), key


def test_too_few_images_of_a_class_are_found_before_anything_is_done(digits):
    metric().ready(digits, None, {})
    with pytest.raises(UserError, match=r"count=20: in half of them .* class \d, and at least 2 .*larger count"):
        metric(count=20).ready(digits, None, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eps": 0.0}, "radius must be above 0"),
        ({"steps": 0}, "steps 1 or more"),
        ({"noise": 0.0}, "noise must be above 0"),
        ({"starts": 1}, "starts 2 or more"),
        ({"chunk": 0}, "chunk"),
        ({"count": 1}, "count 2 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        metric(**changes)


def test_a_judge_that_does_not_know_the_classes_is_refused():
    with pytest.raises(UserError, match="'digits' or 'own'"):
        make(Explanations, "protocol.metrics.explanations", FIELDS | {"features": "inception"})
