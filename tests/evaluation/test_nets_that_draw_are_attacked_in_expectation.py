"""A net that draws random numbers fools an attack on one pass; it is found, and attacked in expectation instead."""

import math
from dataclasses import replace

import pytest
import torch
from commandline import bare
from torch import nn

import harness
from harness.core.energy import EnergyModel
from harness.evaluation import canaries
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.robustness import Robustness
from harness.evaluation.randomised import Randomised, distance, exchange
from harness.models.digits import Digits as DigitsNet
from harness.runs.verify import verify

CPU = torch.device("cpu")
ATTACK = {"split": "test", "norm": "Linf", "eps": 0.15, "targets": 2, "chunk": 16, "seed": 0, "count": 16}
PROTOCOL = {
    "id": "tiny",
    "metrics": {"robustness": ATTACK, "accuracy": {"split": "test"}},
    "samples": {"count": 10, "chunk": 10, "seed": 0},
}


class Shattered(nn.Module):
    """Adds a random wave to each pixel: it hardly moves the pixel, but outweighs one in its own gradient."""

    def __init__(self, net, height=0.1, waves=80):
        super().__init__()
        self.net, self.height, self.waves = net, height, waves

    def forward(self, x):
        return self.net(x + self.height * torch.sin(self.waves * x + 2 * math.pi * torch.rand_like(x)))


@pytest.fixture(scope="module")
def net(digits):
    """A small net, trained without a defence for about a second."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    images, labels = digits.tensors("train")
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(20):
        for batch in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    return net.requires_grad_(False)


def evaluation(net, digits, folder):
    """The evaluation of a net under the tiny protocol."""
    (run,) = harness.plan("method=standard")
    constants = {"mean": [0.0], "std": [1.0]}
    model = EnergyModel(net, **constants).eval()
    fresh = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    untrained = lambda: EnergyModel(fresh, **constants)  # noqa: E731
    subject = Subject(model, digits, CPU, None, folder, untrained=untrained, constants=constants, held_out=True)
    return Evaluation(subject, run.method, {}, None, PROTOCOL, folder)


def scored(judged):
    """The scores and outcomes of an evaluation, and the figures that its record would hold."""
    figures = judged.canaries()
    for piece in judged.pieces("metrics"):
        piece.do()
    return judged.merge()[0], figures


def test_a_randomised_defence_that_fools_the_standard_version_is_caught(net, digits, tmp_path):
    judged = evaluation(Shattered(net), digits, tmp_path)
    standard = Robustness(**ATTACK)
    fooled = standard.merge(judged.subject, [standard.score(judged.subject, 0)]).scores["robust_accuracy/linf_0.15"]

    result, figures = scored(judged)
    assert judged.metrics["robustness"].keys(digits) == ["robust_accuracy/linf_0.15_rand"]
    assert result.scores.keys() == {"robust_accuracy/linf_0.15_rand", "clean_accuracy"}
    score = result.scores["robust_accuracy/linf_0.15_rand"]
    assert score.title == "Robust accuracy (Linf 0.15, AutoAttack rand)"
    assert score.value == 100 * result.outcomes["linf_0.15_rand/rand"].count("1") / 16
    assert fooled.value >= 60 and score.value <= 40, (fooled, score)
    # The record says so: the reason is a dagger on the score, and stands among the checks.
    assert "draws random numbers" in score.warnings[0] and "standard version would flatter" in score.warnings[0]
    assert figures["relative distance of two passes' logits"] > 0.1


def test_a_deterministic_net_is_judged_as_before(net, digits, tmp_path):
    judged = evaluation(net, digits, tmp_path)
    passes = []
    judged.subject.model.register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[0])))
    before = torch.random.get_rng_state()
    assert judged.metrics == judged.listed
    assert sum(passes) <= 40, "the comparison costs no more than a few images"
    assert torch.equal(torch.random.get_rng_state(), before), "and draws nothing"
    assert not [*tmp_path.iterdir()], "and leaves nothing"


def test_draws_that_change_classes_are_not_taken_for_a_wrong_standardisation(net, digits, tmp_path):
    noisy = evaluation(Shattered(net, height=0.5), digits, tmp_path).subject
    x, _ = noisy.images("test", range(360))
    assert (noisy.model(x).argmax(1) == noisy.model(x).argmax(1)).float().mean() < 0.95
    assert canaries.check_classifier(noisy)["accuracy"] > 50


def test_all_processes_come_to_the_same(net, digits, tmp_path):
    """The first process that finds draws tells the others, who read it: none decides by its own."""
    judged = evaluation(Shattered(net, height=1e-7), digits, tmp_path)  # so little that rounding may explain it
    metric = judged.listed["robustness"]
    assert 0 < distance(judged.subject, metric) < 1e-4
    told = replace(judged.subject, keep=lambda name, make: {"apart": 0.5})
    assert exchange(judged.listed, told)["robustness"] == Randomised(metric, 0.5)
    assert exchange(judged.listed, judged.subject) == judged.listed


def test_results_repeat_and_depend_on_no_earlier_draw(net, digits, tmp_path, monkeypatch):
    subject = evaluation(Shattered(net), digits, tmp_path).subject
    monkeypatch.setattr("pyautoattack.autopgd_base.APGDAttack.init_hyperparam", shortened(3))
    metric = Randomised(Robustness(**ATTACK | {"chunk": 8}), 0.5)
    first = metric.score(subject, 1)
    torch.rand(3)
    assert metric.score(subject, 1) == first
    assert metric.summary(subject, [first]).endswith("8 images left")


def test_a_run_s_record_says_so_and_can_be_verified(tmp_path, monkeypatch):
    monkeypatch.setattr("pyautoattack.autopgd_base.APGDAttack.init_hyperparam", shortened(3))
    still = DigitsNet.forward
    monkeypatch.setattr(DigitsNet, "forward", lambda self, x: still(self, x + 0.1 * torch.randn_like(x)))
    (run,) = harness.plan(*bare("standard"), "~protocol.metrics.accuracy", f"runs={tmp_path}")
    record = harness.run(run)
    assert [*record.scores] == ["robust_accuracy/l2_3_rand"] and [*record.outcomes] == ["l2_3_rand/rand"]
    assert "draws random numbers" in record.scores["robust_accuracy/l2_3_rand"].warnings[0]
    assert record.canaries["relative distance of two passes' logits"] > 0.01
    found = {one.what: one.result for one in verify(run, "all", 0, lambda _: None).comparisons}
    assert found["keys of scores"] == found["robustness"] == "same"


def test_two_classes_are_attacked_without_the_loss_that_needs_three(net, digits, tmp_path, monkeypatch):
    monkeypatch.setattr("pyautoattack.autopgd_base.APGDAttack.init_hyperparam", shortened(3))
    judged = evaluation(nn.Sequential(Shattered(net), Two()), digits, tmp_path)
    monkeypatch.setattr(type(digits), "classes", ("even", "odd"))
    part = Randomised(Robustness(**ATTACK), 0.5).score(judged.subject, 0)
    assert any("APGD-DLR was left out" in warning for warning in part["warnings"])


class Two(nn.Module):
    """The logits of two classes alone."""

    def forward(self, logits):
        return logits[:, :2]


def shortened(steps):
    """APGD's settings, with fewer steps."""
    from pyautoattack.autopgd_base import APGDAttack

    whole = APGDAttack.init_hyperparam

    def init(self, x):
        self.n_iter = steps
        whole(self, x)

    return init
