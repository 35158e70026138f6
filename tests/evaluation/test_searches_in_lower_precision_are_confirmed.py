"""An attack that was found in lower precision counts only if it succeeds in fp32; what fp32 refutes is tried again."""

import pytest
import torch
from given_images import Few
from torch import nn

from harness.core.device import precision_in_use
from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.registry import find, make
from harness.evaluation import randomised
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.robustness import Robustness
from harness.evaluation.metrics.searched import Searched

CPU = torch.device("cpu")
N, CLASSES = 12, 5
FIELDS = {"split": "test", "norm": "L2", "eps": 0.25, "targets": 2, "chunk": 6, "seed": 0}
ATTACKS = ("apgd-ce", "apgd-t")


class Net(nn.Module):
    """A small net that notes the precision of its passes; in bf16, `change` is applied to its logits."""

    def __init__(self, change=lambda logits: logits):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, CLASSES))
        self.change, self.seen = change, []

    def forward(self, x):
        precision = precision_in_use(x.device)
        self.seen.append(precision)
        logits = 20 * self.layers(x)
        return self.change(logits) if precision == "bf16" else logits


def subject(net):
    model = EnergyModel(net, [0.5], [0.5]).eval().requires_grad_(False)
    images = torch.rand(N, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    return Subject(model, Few(images, model(images).argmax(1), CLASSES), CPU, samples=None, cache=None)


def attacked(metric, of):
    """The attacked images, and which of them stand after each attack."""
    chunks = [metric.attack(of, shard) for shard in range(metric.shards(of))]
    outcomes = ["".join(part["outcomes"][name] for _, part in chunks) for name in metric.attacks]
    return torch.cat([images for images, _ in chunks]), outcomes


def test_what_counts_as_broken_is_misclassified_in_fp32_inside_the_ball():
    of = subject(net := Net())
    images, outcomes = attacked(Searched(**FIELDS, attacks=ATTACKS, search_precision="bf16"), of)
    assert {"bf16", "fp32"} <= set(net.seen)
    clean, labels = of.images("test", range(N))
    right = of.model(images).argmax(1) == labels
    assert outcomes[-1] == "".join(str(int(flag)) for flag in right)
    assert "0" in outcomes[-1] and "1" in outcomes[-1]
    assert (images - clean).flatten(1).norm(dim=1).max() <= FIELDS["eps"] + 1e-5
    assert images.min() >= 0 and images.max() <= 1


def test_where_there_is_no_lower_precision_the_outcomes_are_those_of_fp32():
    """TF32 is a precision of GPUs alone."""
    searched = attacked(Searched(**FIELDS, attacks=ATTACKS, search_precision="tf32"), subject(Net()))
    plain = attacked(Robustness(**FIELDS, attacks=ATTACKS), subject(Net()))
    assert torch.equal(searched[0], plain[0]) and searched[1] == plain[1]


def test_images_that_only_the_search_misclassifies_are_attacked_in_fp32():
    """In bf16 this net is wrong about every image, so the search ends at once, with nothing that counts."""
    wrong = subject(Net(lambda logits: logits.roll(1, 1)))
    searched = attacked(Searched(**FIELDS, attacks=ATTACKS[:1], search_precision="bf16"), wrong)
    plain = attacked(Robustness(**FIELDS, attacks=ATTACKS[:1]), subject(Net()))
    assert torch.equal(searched[0], plain[0]) and searched[1] == plain[1]


def test_a_search_that_finds_nothing_breaks_nothing():
    """In bf16 this net gives every image its logits without a gradient, far from all borders."""
    firm = subject(Net(lambda logits: 100 * nn.functional.one_hot(logits.argmax(1), CLASSES).float() + 0 * logits))
    _, outcomes = attacked(Searched(**(FIELDS | {"eps": 1e-4}), attacks=ATTACKS[:1], search_precision="bf16"), firm)
    assert outcomes == ["1" * N]


def test_key_and_title_name_the_precision():
    of, metric = subject(Net()), Searched(**FIELDS, attacks=ATTACKS[:1], search_precision="bf16")
    result = metric.merge(of, [metric.score(of, shard) for shard in range(metric.shards(of))])
    (key,) = metric.keys(of.data)
    assert [*result.scores] == [key] == ["robust_accuracy/l2_0.25_apgd-ce_bf16"]
    assert result.scores[key].title == "Robust accuracy (L2 0.25, APGD-CE, searched in bf16)"
    assert [*result.outcomes] == ["l2_0.25_apgd-ce_bf16/apgd-ce"]


def test_a_net_that_draws_is_attacked_in_fp32():
    of = subject(Net())
    drawing = subject(Net())
    drawing.model.net.layers.append(nn.Dropout(0.5).train())
    drawing.model.net.layers[-1].eval = lambda: drawing.model.net.layers[-1]
    metrics = {"robustness": Searched(**FIELDS, search_precision="bf16")}
    assert randomised.exchange(metrics, of) == metrics
    (metric,) = randomised.exchange(metrics, drawing).values()
    assert type(metric.of) is Robustness and metric.of == Robustness(**FIELDS)


def test_a_protocol_names_the_precision():
    entry = {**FIELDS, "search_precision": "bf16"}
    assert make(find("metric", "searched"), "protocol.metrics.robustness", entry).search_precision == "bf16"
    for wrong in ({**FIELDS}, {**FIELDS, "search_precision": "fp16"}):
        with pytest.raises(UserError, match="search_precision"):
            make(find("metric", "searched"), "protocol.metrics.robustness", wrong)
