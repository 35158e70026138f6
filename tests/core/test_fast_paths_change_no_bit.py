"""Fast paths that claim to be exact give the same bits as the plain implementation on the CPU."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from timm.layers.std_conv import StdConv2d
from torch import nn

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


@pytest.mark.parametrize("how", [Walk(3, 0.1, precision="bf16"), Walk(3, 0.1, keep="best", precision="bf16")])
def test_a_walk_in_bf16_that_casts_weights_once(how, monkeypatch):
    model = initial(harness.plan("method=atjem", *SMALL)[0])
    x, y = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 10
    weights, names = list(model.parameters()), list(model.state_dict())
    once = walk(model, x, joint_logit(y), how)
    assert all(p is q and p.dtype == torch.float32 for p, q in zip(model.parameters(), weights, strict=True))
    assert list(model.state_dict()) == names and all(p.requires_grad for p in weights)
    kinds = []
    model.net.conv1.register_forward_hook(lambda layer, *_: kinds.append(layer.weight.dtype))
    assert torch.equal(walk(model, x, joint_logit(y), how), once) and set(kinds) == {torch.bfloat16}
    monkeypatch.setattr(pgd, "cast_once", lambda *_: nullcontext())
    assert torch.equal(walk(model, x, joint_logit(y), how), once)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_layers_that_compute_with_their_weights_first_are_cast_by_autocast(monkeypatch):
    """Weights that are normalised in each pass, by a class of timm's and by torch's older and newer functions."""
    torch.manual_seed(0)
    standardised, older, newer = StdConv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    nn.utils.weight_norm(older), nn.utils.parametrizations.weight_norm(newer)
    net = nn.Sequential(standardised, older, newer, nn.Flatten(), nn.Linear(64, 10))
    x, y, how = torch.rand(3, 1, 8, 8), torch.arange(3), Walk(3, 0.1, precision="bf16")
    once = walk(net, x, joint_logit(y), how)
    monkeypatch.setattr(pgd, "cast_once", lambda *_: nullcontext())
    assert torch.equal(walk(net, x, joint_logit(y), how), once) and not torch.equal(once, x)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_graph_that_waits_during_a_walk_in_bf16(precision, monkeypatch):
    """JEM++ differentiates a pass that came before its walk."""
    weights = []
    for cast in (pgd.cast_once, lambda *_: nullcontext()):
        monkeypatch.setattr(pgd, "cast_once", cast)
        (run,) = harness.plan("method=jempp", f"precision={precision}", "walk_precision=bf16", *SMALL)
        step = Step(run.stage_runs[0].stage, initial(run), StageInputs(run.data, None, (0,), CPU))
        step(*next(step.batches()))
        weights.append([*step.model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


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
