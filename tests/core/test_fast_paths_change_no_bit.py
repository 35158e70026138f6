"""Fast paths that claim to be exact give the same bits as the plain implementation in fp32 on the CPU."""

from contextlib import contextmanager

import pytest
import torch

import harness
from harness.core import walk as pgd
from harness.core.walk import Walk, cross_entropy, joint_logit, walk
from harness.methods.atjem import area_under_curve
from harness.runs.build import initial, outliers
from harness.training.batches import StageInputs
from harness.training.step import Step

CPU = torch.device("cpu")
SMALL = ("threads=1", "tracking=off", "model.width=8")


def loop_of(method, stage, folder):
    (run,) = harness.plan(f"method={method}", *SMALL)
    training = next(training for training in run.stage_runs if training.name == stage)
    source = outliers(run) if "outliers" in training.stage.streams else None
    loop = Step(training.stage, initial(run), StageInputs(run.data, source, (0,), CPU))
    loop.state = training.stage.at_full_length(loop.state)
    return loop


@pytest.mark.parametrize("how", [Walk(5, 0.1), Walk(5, 0.1, eps=0.5, keep="best", momentum=0.9)])
def test_a_walk_without_gradients_of_the_weights(how, monkeypatch):
    @contextmanager
    def thawed(model, evaluating=True):
        training = model.training
        model.train(not evaluating)
        yield
        model.train(training)

    model = initial(harness.plan("method=atjem", *SMALL)[0])
    x, y = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
    for objective in (joint_logit(y), cross_entropy(y)):
        fast = walk(model, x, objective, how)
        with monkeypatch.context() as patch:
            patch.setattr(pgd, "frozen", thawed)
            plain = walk(model, x, objective, how)
        assert torch.equal(fast, plain) and not torch.equal(fast, x)


@pytest.mark.parametrize(("method", "stage"), [("atjem", "joint"), ("generative", "generate"), ("jem", "energy")])
def test_figures_that_are_read_together(method, stage, tmp_path):
    loop, other = (loop_of(method, stage, tmp_path / name) for name in ("fast", "plain"))
    step, batch = next(loop.batches())
    figures = loop(step, batch)
    other.model.train()
    loss = other.loss(step, batch)
    for name, value in (loss.terms | loss.monitors).items():
        assert figures[name] == float(value)
    if loss.per_image:
        assert figures["auc"] == area_under_curve(loss.per_image["real"], loss.per_image["contrastive"])


def test_the_auc_of_the_logits_that_are_there(tmp_path):
    loop = loop_of("atjem", "joint", tmp_path)
    step, batch = next(loop.batches())
    loop.model.train()
    seen = loop.loss(step, batch).per_image
    with torch.no_grad():
        alone = joint_logit(batch.labels["real"])(loop.model(batch.images["real"]))
    assert area_under_curve(alone, seen["contrastive"]) == area_under_curve(seen["real"], seen["contrastive"])
    torch.testing.assert_close(alone, seen["real"], rtol=1e-5, atol=1e-5)
