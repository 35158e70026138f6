"""Nets whose gradients hide their weakness get a dagger; a net without such tricks gets none."""

import pytest
import torch
from torch import nn

from harness.core.dataset import TensorView
from harness.core.energy import EnergyModel
from harness.datasets.digits import Digits
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.masking import Masking

CPU = torch.device("cpu")
ENTRY = {"split": "test", "norm": "L2", "eps": 0.1, "large": 4, "steps": 20, "restarts": 3, "chunk": 25, "seed": 0}


class Grey(Digits):
    """Digits of little contrast: no attack of a small radius reaches black or white."""

    def view(self, split, branch):
        view = super().view(split, branch)
        return TensorView(0.4 + 0.2 * view.images, view.labels)


class Templates(nn.Module):
    """A linear net: f_k(x) = −½ ‖x − m_k‖² + ½ ‖x‖², whose nearest class mean m_k wins."""

    def __init__(self):
        super().__init__()
        images, labels = Grey().view("train", "plain").images, Grey().labels("train")
        self.means = torch.stack([images[labels == k].flatten(1).mean(0) for k in range(10)])

    def forward(self, x):
        return x.flatten(1) @ self.means.T - self.means.square().sum(1) / 2


class Shattered(Templates):
    """The same decisions by logits in steps, whose gradients are zero."""

    def forward(self, x):
        logits = super().forward(x)
        return logits.detach().argmax(1)[:, None].eq(torch.arange(10)).float() + 0 * logits


class Hollow(Templates):
    """The same decisions, but gradients vanish exactly at the images of the dataset."""

    def __init__(self):
        super().__init__()
        self.images = Grey().view("test", "plain").images.flatten(1)

    def forward(self, x):
        known = torch.cdist(x.detach().flatten(1), self.images).amin(1) < 0.01
        return super().forward(torch.where(known[:, None, None, None], x.detach(), x))


def judge(net, **changes):
    metric = Masking(**{**ENTRY, "count": 60, **changes})
    subject = Subject(EnergyModel(net, [0.0], [1.0]).eval(), Grey(), CPU, None, None)
    parts = [metric.score(subject, shard) for shard in range(metric.shards(subject))]
    return metric.merge(subject, parts).scores


def values(scores):
    return {key: score.value for key, score in scores.items()}


def warnings(scores):
    return [warning for score in scores.values() for warning in score.warnings]


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_an_honest_net_falls_as_far_as_its_boundaries_are_near(norm):
    """Of a linear net the distance to each boundary is (f_y − f_k) / ‖m_y − m_k‖ in the dual norm."""
    net, eps = Templates(), 0.1 if norm == "L2" else 0.02
    images, labels = Grey().view("test", "plain").images[::6], Grey().labels("test")[::6]
    logits = net(images)
    apart = (net.means[labels][:, None] - net.means).norm(p=2 if norm == "L2" else 1, dim=2)
    gaps = (logits.gather(1, labels[:, None]) - logits) / apart.clamp(min=1e-9)
    nearest = gaps.masked_fill(nn.functional.one_hot(labels, 10).bool(), torch.inf).amin(1)
    key = "l2_0.1" if norm == "L2" else "linf_0.02"
    scores = judge(net, norm=norm, eps=eps, large=4 if norm == "L2" else 0.9)
    expected = 100 * float((nearest > eps).double().mean())
    assert 10 < expected < 90
    assert scores[f"masking/restarts/{key}"].value == pytest.approx(expected, abs=100 / 60 + 1e-6)
    assert scores[f"masking/attack/{key}"].value >= scores[f"masking/restarts/{key}"].value
    assert not warnings(scores)


def test_steps_without_gradients_stand_at_any_radius_and_are_a_dagger():
    scores = judge(Shattered())
    assert scores["masking/large/l2_4"].value > 50
    assert any("withstand an attack of radius 4" in warning for warning in warnings(scores))


def test_gradients_that_vanish_at_the_images_are_found_by_restarts():
    scores = judge(Hollow())
    assert scores["masking/attack/l2_0.1"].value > scores["masking/restarts/l2_0.1"].value + 10
    assert [warning for warning in warnings(scores) if "random starts" in warning]
    assert scores["masking/restarts/l2_0.1"].value == judge(Templates())["masking/restarts/l2_0.1"].value


def test_the_daggers_stand_in_the_main_table_and_the_attacks_beside_it():
    scores = judge(Shattered())
    assert [key for key, score in scores.items() if not score.table] == ["masking/large/l2_4"]
    assert scores["masking/large/l2_4"].better == "lower" and scores["masking/large/l2_4"].warnings


def test_chunks_change_no_outcome():
    assert values(judge(Hollow(), chunk=7)) == values(judge(Hollow(), chunk=60))


@pytest.mark.parametrize("changes", [{"eps": 0}, {"large": 0.1}, {"restarts": 0}, {"steps": 0}])
def test_an_entry_that_cannot_be_is_refused(changes):
    with pytest.raises(ValueError, match="must be"):
        Masking(**{**ENTRY, "count": 60, **changes})
