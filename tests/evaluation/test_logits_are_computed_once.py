"""The logits of a split are computed once for all metrics and processes of an evaluation."""

import pytest
import torch

from harness.core.errors import Diverged
from harness.core.method import Method
from harness.datasets.outliers.noise import Noise
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.metric import BATCH, Subject
from harness.evaluation.samples import Samples, Sampling

CPU = torch.device("cpu")
SAMPLES = {"count": 10, "chunk": 10, "seed": 0}
PROTOCOL = {"metrics": {"accuracy": {"split": "test"}, "calibration": {"split": "test", "bins": 5}}, "samples": SAMPLES}


class Unused(Method):
    """A method that draws nothing here."""


@pytest.fixture
def process(digits, digits_net, tmp_path):
    """A function that stands for one process of the evaluation; it counts the images that its model takes."""

    def start(weights="a", net=None):
        model = (net or digits_net()).eval().requires_grad_(False)
        taken = []
        model.register_forward_pre_hook(lambda module, inputs: taken.append(len(inputs[0])))
        subject = Subject(model, digits, CPU, Samples(tmp_path / "samples", Sampling(**SAMPLES)), tmp_path)
        code = {"samples": {"weights": weights}}
        return Evaluation(subject, Unused(), {}, Noise(digits), PROTOCOL, tmp_path / "run", code), taken

    return start


def test_a_second_process_reads_what_the_first_computed(process, digits, tmp_path):
    (first, taken), (second, taken_by_second) = process(), process()
    first.pieces("metrics")[0].do()
    second.pieces("metrics")[1].do()
    assert sum(taken) == digits.length("test") and len(taken) == -(-digits.length("test") // BATCH)
    assert taken_by_second == []
    # In the last bit, they are those that each would have computed by itself.
    alone = Subject(first.subject.model, digits, CPU, first.subject.samples, tmp_path)
    shared, own = second.subject.logits("test"), alone.logits("test")
    assert all(torch.equal(*pair) and pair[0].dtype == pair[1].dtype for pair in zip(shared, own, strict=True))
    scores = second.merge()[0].scores
    for metric in first.metrics.values():
        for key, score in metric.merge(alone, [metric.score(alone, 0)]).scores.items():
            assert scores[key] == score


def test_they_are_gone_when_the_evaluation_ends(process, tmp_path):
    evaluation, _ = process()
    for piece in evaluation.pieces("metrics"):
        piece.do()
    assert list((tmp_path / "run" / "kept").iterdir())
    evaluation.merge()
    assert not (tmp_path / "run" / "kept").exists()


def test_other_weights_do_not_read_them(process, digits):
    process("a")[0].subject.logits("test")
    evaluation, taken = process("b")
    evaluation.subject.logits("test")
    assert sum(taken) == digits.length("test")


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_damaged_ones_are_computed_again(process, digits, tmp_path, ending):
    expected, _ = process()[0].subject.logits("test")
    path = tmp_path / "run" / "kept" / f"logits-test.{ending}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    evaluation, taken = process()
    assert torch.equal(evaluation.subject.logits("test")[0], expected)
    assert sum(taken) == digits.length("test")


def test_logits_that_are_not_finite_are_kept_by_nobody(process, digits_net, tmp_path):
    net = digits_net()
    for parameter in net.parameters():
        parameter.data.fill_(torch.nan)
    for _ in range(2):
        with pytest.raises(Diverged, match="not finite"):
            process(net=net)[0].subject.logits("test")
    assert not list((tmp_path / "run" / "kept").glob("*.json"))
