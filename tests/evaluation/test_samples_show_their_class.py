"""Class-wise fidelity: distances class by class, and what a judge sees who had no part in the samples."""

import numpy as np
import pytest
import torch
from commandline import quick, without
from safetensors.torch import load_file
from scipy.stats import norm, t

import harness as api
from harness.core.errors import UserError
from harness.evaluation.features.digits import Classifier
from harness.evaluation.features.digits import Digits as Extractor
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.classwise import Classwise
from harness.evaluation.samples import Samples, Sampling, eight_bits
from harness.launch.preflight import ready_to_judge
from harness.runs import record, verify

CPU = torch.device("cpu")
NAMES = "classwise/fd_digits", "classwise/agreement"


class Given(Samples):
    """Samples in memory, cut into chunks."""

    def __init__(self, images, chunk):
        super().__init__(None, Sampling(count=len(images), chunk=chunk, seed=0))
        object.__setattr__(self, "images", images)

    def __getitem__(self, chunk):
        return self.images[list(self.indices(chunk))]


def judged(images, digits, tmp_path, metric=None, judge=None):
    metric = metric or Classwise(features="digits")
    subject = Subject(None, digits, CPU, Given(images, 90), tmp_path, judge=judge)
    parts = [metric.score(subject, shard) for shard in range(metric.shards(subject))]
    return [metric.merge(subject, parts).scores[name] for name in NAMES]


def by_class(digits, each, split="train"):
    """Real images, of each class in turn: N x 1 x 8 x 8 in 8 bits."""
    images, labels = digits.tensors(split)
    rows = torch.stack([(labels == label).nonzero()[:each, 0] for label in range(10)], 1).flatten()
    return eight_bits(images[rows])


@pytest.fixture(scope="module")
def classifier(digits, tmp_path_factory):
    net = Classifier().eval()
    net.load_state_dict(load_file(Extractor().file(digits, tmp_path_factory.mktemp("none"))))
    return net


def distance(x, y):
    """The Fréchet distance of two sets of features, N x D, by its formula."""
    a, b = np.cov(x.T), np.cov(y.T)
    root = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0)).sum()  # the trace of (a b)^½
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b) - 2 * root


@torch.no_grad()
def test_both_scores_are_those_of_their_formulas(digits, classifier, tmp_path):
    clean, noise = by_class(digits, 90), torch.Generator().manual_seed(0)
    images = (clean.float() + 40 * torch.randn(clean.shape, generator=noise)).clamp(0, 255).to(torch.uint8)
    fd, agreement = judged(images, digits, tmp_path)
    # Derive them from the classifier alone.
    features = classifier.features(images / 255)
    x, labels = features.double().numpy(), np.arange(900) % 10
    real, known = digits.tensors("train")
    y = classifier.features(eight_bits(real) / 255).double().numpy()

    def mean(rows):
        kept = [np.intersect1d(rows, np.flatnonzero(labels == label)) for label in range(10)]
        return np.mean([distance(x[rows], y[known.numpy() == label]) for label, rows in enumerate(kept)])

    assert fd.value == pytest.approx(mean(np.arange(900)), rel=1e-3)
    left_out = [mean(np.delete(np.arange(900), slice(90 * group, 90 * group + 90))) for group in range(10)]
    half = t.ppf(0.975, 9) * np.sqrt(9 * np.var(left_out))
    assert (fd.low, fd.high) == pytest.approx((fd.value - half, fd.value + half), rel=1e-2)

    right = (classifier.head(features).argmax(1).numpy() == labels).sum()
    assert agreement.value == pytest.approx(100 * right / 900) and 50 < agreement.value < 100
    p, z = right / 900, norm.ppf(0.975)
    centre, half = p + z**2 / 1800, z * np.sqrt(p * (1 - p) / 900 + z**2 / (4 * 900**2))
    bounds = [100 * (centre + side * half) / (1 + z**2 / 900) for side in (-1, 1)]
    assert [agreement.low, agreement.high] == pytest.approx(bounds)


def test_samples_of_the_wrong_class_are_far_and_not_recognised(digits, tmp_path):
    images = by_class(digits, 70)
    (fd, agreement), (far, none) = (judged(images.roll(by, 0), digits, tmp_path) for by in (0, 1))
    assert agreement.value > 99 and none.value < 1 and far.value > 10 * fd.value


def test_another_judge_decides_the_agreement_and_not_the_distance(digits, tmp_path):
    images = by_class(digits, 70)
    asked = []

    def judge(name):
        asked.append(name)
        return lambda x: torch.eye(10)[[3] * len(x)]

    own, _ = judged(images, digits, tmp_path)
    fd, agreement = judged(images, digits, tmp_path, Classwise(features="digits", judge="someone"), judge)
    assert fd == own and agreement.value == pytest.approx(10) and set(asked) == {"someone"}
    assert "judge: someone" in agreement.title


@pytest.mark.parametrize(
    ("fields", "count", "message"),
    [
        ({"features": "inception"}, 50_000, "features=own, or judge=NAME"),
        ({"features": "digits"}, 649, "set it to 650 or more"),
    ],
)
def test_what_cannot_be_judged_is_refused(digits, fields, count, message):
    with pytest.raises(UserError, match=message):
        Classwise(**fields).ready(digits, Sampling(count=count, chunk=100, seed=0), {})


# The nets of other runs.

ONLY = [
    *without(),
    "~protocol.metrics.robustness",
    "+method.sampler.steps=2",
    "protocol.samples={count: 650, chunk: 325, seed: 0}",
]


def planned(folder, method, *more):
    few = [word for word in quick(method, 3) if not word.startswith("protocol.")]
    few = [word for word in few if "protocol.metrics" not in word]
    (run,) = api.plan(*few, *(word.replace("+method", "method") for word in ONLY), f"runs={folder / 'runs'}", *more)
    return run


def entry(judge=""):
    return f"+protocol.metrics.classwise={{features: digits{', judge: ' + judge if judge else ''}}}"


def test_another_run_judges_and_never_the_run_itself(tmp_path):
    judge = planned(tmp_path, "standard")
    with pytest.raises(UserError, match=f"There is no run '.*{judge.name}'"):
        ready_to_judge([planned(tmp_path, "standard", "seed=1", entry(judge.name))])
    api.run(judge)
    run = planned(tmp_path, "standard", "seed=1", entry(judge.name))
    found = api.run(run)
    assert found.scores["classwise/agreement"].n == 650 and judge.name in found.scores["classwise/agreement"].title
    assert found.not_given == []
    (same,) = [one for one in verify.verify(run, 1, 0, print).comparisons if one.what == "classwise"]
    assert same.result == "same"
    # What samples cost stands beside the scores.
    drawn = found.cost.sampling
    assert (drawn.images, drawn.passes) == (650, 2) and drawn.flop > 0 and drawn.images_per_second > 0

    with pytest.raises(UserError, match=r"classwise: judge=.* has the weights that are judged"):
        ready_to_judge([planned(tmp_path, "standard", entry(judge.name))])


def test_a_method_whose_samples_have_no_class_has_no_such_cells(tmp_path):
    run = planned(tmp_path, "jem", entry())
    found = api.run(run)
    assert found.not_given == ["classwise/fd_digits", "classwise/agreement"] and "clean_accuracy" in found.scores
    assert record.read(run.folder / "record.json") == found
