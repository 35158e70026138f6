"""With microbatch=N the net takes N images at a time, in whatever an evaluation asks of it."""

import pytest
import torch
from commandline import quick

import harness
from harness.models.digits import Digits
from harness.runs.build import check_accuracy, untrained
from harness.runs.execute import evaluate_run, train_stage
from harness.runs.progress import Watch

CPU = torch.device("cpu")
SIZE = 7


@pytest.fixture
def passes(monkeypatch):
    """The numbers of images in the passes of nets for digits."""
    sizes, forward = [], Digits.forward
    monkeypatch.setattr(Digits, "forward", lambda net, x: sizes.append(len(x)) or forward(net, x))
    return sizes


def test_of_a_whole_evaluation(passes, tmp_path):
    (run,) = harness.plan(*quick("standard", steps=2), f"microbatch={SIZE}", f"runs={tmp_path}")
    run.freeze()
    train_stage(run, run.stage_runs[0], Watch())
    passes.clear()
    record = evaluate_run(run, CPU, lambda *progress: None)
    assert "accuracy, untrained" in record.canaries
    assert max(passes) == SIZE


def test_of_the_look_at_given_weights(passes):
    (run,) = harness.plan("method=at", "model.width=4", f"microbatch={SIZE}", "init_accuracy=0", "tracking=off")
    check_accuracy(run, untrained(run))
    assert max(passes) == SIZE and sum(passes) > 100
