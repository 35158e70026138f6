"""Counterfactuals: the walk equals its formula, and the figures equal a computation by hand for any chunk size."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm

from harness.core.errors import UserError
from harness.core.random import derive
from harness.datasets.digits import Digits
from harness.evaluation.counterfactual import counterfactuals
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.metric import Result, Subject
from harness.evaluation.metrics.counterfactuals import Counterfactuals, match
from harness.evaluation.samples import eight_bits

CPU = torch.device("cpu")
FIELDS = {"split": "train", "radii": (0.5, 1.5), "steps": 4, "features": None, "chunk": 50, "seed": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def subject(digits, digits_net, cache):
    return Subject(digits_net(width=8).eval(), digits, CPU, None, cache)


@pytest.fixture
def sharp(net):
    """The small net with widely spaced logits."""
    torch.nn.init.normal_(net.net[3].weight, std=4.0)
    return net


def metric(**changes):
    return Counterfactuals(**(FIELDS | changes))


def scores(metric, subject):
    parts = [metric.score(subject, shard) for shard in range(metric.shards(subject))]
    return metric.merge(subject, parts).scores


def by_hand(model, image, target, eps, steps):
    """The walk of one image, step by step, in NumPy except the gradient."""
    start = x = image.numpy()
    for _ in range(steps):
        tensor = torch.from_numpy(x).requires_grad_()
        model(tensor[None])[0, target].backward()
        gradient = tensor.grad.numpy()
        x = x + 2.5 * eps / steps * gradient / np.linalg.norm(gradient)
        offset = x - start
        length = np.linalg.norm(offset)
        x = np.clip(start + offset * min(1, eps / length), 0, 1)
    return x


@pytest.mark.parametrize("eps", [0.2, 1.0])
def test_the_walk_is_a_loop_of_unit_steps_inside_the_ball(net, images, labels, eps):
    found = counterfactuals(net, images, labels, eps, steps=7)
    for image, target, ours in zip(images, labels, found.images, strict=True):
        np.testing.assert_allclose(ours, by_hand(net, image, target, eps, 7), rtol=0, atol=1e-12)
    assert found.distance.max() <= eps * (1 + 1e-9)
    assert found.images.min() >= 0 and found.images.max() <= 1
    lengths = [np.linalg.norm(ours - image) for ours, image in zip(found.images, images, strict=True)]
    np.testing.assert_allclose(found.distance, lengths)


def test_what_the_model_says_of_it_is_its_softmax(net, images, labels):
    found = counterfactuals(net, images, labels, 0.5, steps=3)
    for of, probability in ((images, found.before), (found.images, found.after)):
        exponentials = net(of).detach().exp()
        expected = exponentials[torch.arange(6), labels] / exponentials.sum(1)
        torch.testing.assert_close(probability, expected)
    assert torch.equal(found.predicted, net(found.images).argmax(1))


def test_confidence_in_the_target_rises_with_the_radius(sharp, images, labels):
    rising = [counterfactuals(sharp, images, labels, eps, 20).after.mean() for eps in (0.05, 0.2, 0.5, 1.0)]
    assert counterfactuals(sharp, images, labels, 0.05, 20).before.mean() < rising[0]
    assert rising == sorted(rising) and rising[-1] > rising[0] + 0.2


def test_targets_are_any_class_but_the_own_by_seed_and_index_alone(digits):
    labels, everyone = digits.labels("train"), list(range(1257))
    targets = metric().targets(digits, everyone)
    assert (targets != labels).all()
    assert targets.bincount(minlength=10).min() > 80, "every class must be a target"
    turns = (targets - labels) % 10
    assert turns.tolist() == [1 + derive(0, "target", index) % 9 for index in everyone]
    assert torch.equal(metric().targets(digits, everyone[700:710]), targets[700:710])
    assert not torch.equal(metric(seed=1).targets(digits, everyone), targets)


def test_the_figures_do_not_depend_on_the_chunks(subject):
    whole, apart = (scores(metric(count=60, chunk=chunk), subject) for chunk in (60, 7))
    assert list(whole) == list(apart)
    for key, score in whole.items():
        assert apart[key].model_dump(exclude={"value", "low", "high"}) == score.model_dump(
            exclude={"value", "low", "high"}
        )
        assert apart[key].value == pytest.approx(score.value, abs=1e-4), key


def test_the_figures_are_those_of_the_walked_images(subject):
    found = scores(metric(count=60), subject)
    chosen = [index * 1257 // 60 for index in range(60)]
    images, target = subject.images("train", chosen)[0], metric().targets(subject.data, chosen)
    for eps in (0.5, 1.5):
        walked = counterfactuals(subject.model, images, target, eps, 4)
        assert found[f"counterfactual_confidence/l2_{eps}"].value == pytest.approx(100 * float(walked.after.mean()))
        reached = 100 * float((walked.predicted == target).float().mean())
        assert found[f"counterfactual_reached/l2_{eps}"].value == pytest.approx(reached)
        assert found[f"counterfactual_distance/l2_{eps}"].value == pytest.approx(float(walked.distance.mean()))
    assert {score.table for score in found.values()} == {"Counterfactuals, L2 0.5", "Counterfactuals, L2 1.5"}


def test_pictures_are_rounded_where_a_protocol_says_so(subject):
    """DAT's authors round to 8 bits; samples, and pictures elsewhere, are truncated."""
    shown = {rounded: metric(rounded=rounded).score(subject, 0)["shown"].astype(int) for rounded in (False, True)}
    difference = shown[True] - shown[False]
    assert set(np.unique(difference)) == {0, 1}
    (walked,) = [
        counterfactuals(subject.model, images, targets, metric().radii[0], metric().steps).images
        for images, targets in [_first_chunk(subject)]
    ]
    places = [
        place
        for place, index in enumerate(metric()._indices(subject.data)[: len(walked)])
        if index in metric()._picture_indices(subject.data)
    ]
    np.testing.assert_array_equal(shown[True], (255 * walked[places]).round().numpy().astype(int))


def _first_chunk(subject):
    how = metric()
    indices = how._indices(subject.data)[: how.chunk]
    images, _ = subject.images(how.split, indices)
    return images, how.targets(subject.data, indices)


def test_the_distance_is_that_of_each_class_by_hand(subject):
    ours = scores(metric(features="digits", radii=(0.5,), steps=2), subject)
    extract = subject.features("digits")
    images, labels = subject.data.tensors("train")
    target = metric().targets(subject.data, list(range(1257)))
    walked = counterfactuals(subject.model, images, target, 0.5, 2).images
    stored = metric(features="digits", radii=(0.5,), steps=2).score(subject, 0)["features"]
    np.testing.assert_allclose(stored, extract(eight_bits(walked[:50]))["features"], atol=1e-4, err_msg="in 8 bits")
    distances = []
    for label in range(10):
        of = [
            extract(eight_bits(some))["features"].double().numpy()
            for some in (walked[target == label], images[labels == label])
        ]
        (a, b), (m, n) = ([np.cov(x, rowvar=False) for x in of], [x.mean(0) for x in of])
        distances.append(((m - n) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real))
    score = ours["counterfactual_fd_digits/l2_0.5"]
    assert score.value == pytest.approx(np.mean(distances), rel=1e-3)
    assert (score.n, score.better, score.table) == (1257, "lower", "Counterfactuals, L2 0.5")


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ([0.2, 0.8, 1.0], 20.0),  # halfway between 0.8 and 1.0: (30 + 10) / 2
        ([0.2, 0.9, 1.0], 30.0),
        ([0.95, 0.97, 1.0], 50.0),  # the smallest radius already reaches it
        ([0.2, 0.92, 0.85], 50.0 - 20.0 * (0.9 - 0.2) / (0.92 - 0.2)),  # the first radius that reaches it
        ([0.2, 0.5, 0.89], None),
    ],
)
def test_methods_are_compared_at_a_confidence_between_two_radii(confidences, expected):
    assert match(confidences, [50.0, 30.0, 10.0], 0.9) == (None if expected is None else pytest.approx(expected))


def test_the_headline_is_left_out_where_no_radius_reaches_the_confidence(subject, monkeypatch):
    one = metric(features="digits", count=900)
    monkeypatch.setattr(Counterfactuals, "_mean_frechet", lambda *_: [30.0, 10.0])

    def headline(*confidences):
        parts = [
            {
                "confidence": np.full(4, sure, np.float32),
                "reached": np.ones(4, bool),
                "distance": np.ones(4),
                "extractor": subject.features("digits").digest,
                "features": np.ones(4),
            }
            for sure in confidences
            for _ in range(18)
        ]
        return one.merge(subject, parts).scores.get("counterfactual_fd_digits")

    assert headline(0.5, 0.8) is None
    between, beyond = headline(0.8, 1.0), headline(0.95, 1.0)
    assert (between.value, between.warnings, between.table) == (pytest.approx(20, rel=1e-6), [], "")
    assert between.title == "Counterfactual FD (digits features) at 90 % confidence"
    assert beyond.value == 30 and "95.0 % already" in beyond.warnings[0]


def test_too_few_images_of_a_class_are_found_before_anything_is_done(digits):
    metric(features="digits").ready(digits, None, {})
    metric(features=None, count=20).ready(digits, None, {})
    with pytest.raises(UserError, match=r"counterfactuals into class \d=.*At least 65 are needed.*features=null"):
        metric(features="digits", count=300).ready(digits, None, {})
    with pytest.raises(UserError, match=r"training images of class \d=.*features=null"):
        metric(features="digits", split="test").ready(Digits(validation=700, test=700), None, {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radii": ()}, "radii"),
        ({"radii": (1.0, 0.5)}, "rise"),
        ({"radii": (0.0, 1.0)}, "radius must be above 0"),
        ({"steps": 0}, "steps 1 or more"),
        ({"confidence": 90}, "between 0 and 1"),
        ({"chunk": 0}, "chunk"),
        ({"count": 1}, "count 2 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        metric(**changes)


def test_the_picture_shows_an_image_of_each_class(subject, tmp_path):
    one = metric(count=60, chunk=7)
    parts = [one.score(subject, shard) for shard in range(one.shards(subject))]
    assert all(part["shown"].dtype == np.uint8 for part in parts)
    assert sum(len(part["shown"]) for part in parts[:9]) == 10
    rows = one._rows(subject, [{k: np.concatenate([p[k] for p in parts[f : f + 9]]) for k in parts[0]} for f in (0, 9)])
    chosen = [index * 1257 // 60 for index in range(60)]
    labels = subject.data.labels("train")[chosen].tolist()
    images, target = subject.images("train", chosen)[0], metric().targets(subject.data, chosen)
    walked = counterfactuals(subject.model, images, target, 1.5, 4)
    for label, (original, _, last, _) in enumerate(rows):
        first = labels.index(label)
        assert torch.equal(original.image, images[first])
        assert original.caption == f"{label} → {int(target[first])}"
        assert (last.image - walked.images[first]).abs().max() < 1.01 / 255
        assert last.caption == f"ε 1.5: {100 * walked.after[first]:.0f} %"
    found = one.merge(subject, parts).pictures
    for name, draw in found.items():
        draw(tmp_path / f"{name}.png")
    whole, strip = (Image.open(tmp_path / f"counterfactual{name}.png") for name in ("s", "_strip"))
    assert strip.width == whole.width and strip.height == pytest.approx(whole.height / 10, abs=1), "the first row alone"
    assert (tmp_path / "counterfactuals.png").stat().st_size > 5000


def test_parts_can_be_stored(subject):
    part = metric(count=20).score(subject, 0)
    json.dumps({name: value for name, value in part.items() if not isinstance(value, np.ndarray)})


def test_two_entries_of_a_protocol_keep_their_pictures(tmp_path):
    def entry(content):
        picture = {"counterfactuals": lambda path: path.write_bytes(content)}
        return SimpleNamespace(shards=lambda subject: 0, merge=lambda subject, parts: Result({}, pictures=picture))

    evaluation = Evaluation.__new__(Evaluation)
    evaluation.metrics, evaluation.folder, evaluation.subject = (
        {"near": entry(b"1"), "far": entry(b"2")},
        tmp_path,
        None,
    )
    evaluation.merge()
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert found == {"counterfactuals.png": b"1", "counterfactuals-far.png": b"2"}
