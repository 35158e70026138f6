"""bf16 is used only where it is requested: separately for walks and for learning, never for samples and scores."""

from dataclasses import replace

import pytest
import torch

import harness
from harness.core.device import computing
from harness.core.errors import UserError
from harness.core.walk import Walk, joint_logit, slope, walk
from harness.launch.preflight import check_all
from harness.runs.build import initial, outliers
from harness.runs.run import Run
from harness.training.batches import StageInputs
from harness.training.step import Step

SMALL = ("threads=1", "tracking=off", "model.width=8")
CPU = torch.device("cpu")


def loop_of(run, stage, folder):
    training = next(training for training in run.stage_runs if training.name == stage)
    source = outliers(run) if "outliers" in training.stage.streams else None
    loop = Step(training.stage, initial(run), StageInputs(run.data, source, (0,), CPU))
    loop.state = training.stage.at_full_length(loop.state)
    return loop


@pytest.mark.parametrize("learning", ["fp32", "bf16"])
@pytest.mark.parametrize("walking", ["fp32", "bf16"])
def test_walks_and_learning_have_a_precision_each(learning, walking, tmp_path):
    (run,) = harness.plan("method=atjem", f"precision={learning}", f"walk_precision={walking}", *SMALL)
    loop = loop_of(run, "joint", tmp_path)
    seen = set()

    def note(module, inputs, output):
        seen.add((any(p.requires_grad for p in module.parameters()), output.dtype))

    loop.model.net.conv1.register_forward_hook(note)
    logits = []
    loop.model.register_forward_hook(lambda module, inputs, output: logits.append(output.dtype))
    loop(*next(loop.batches()))
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    assert seen == {(True, kinds[learning]), (False, kinds[walking])}
    assert set(logits) == {torch.float32}, "losses must be computed in fp32"
    assert {p.dtype for p in loop.model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cpu")


def test_walks_follow_where_only_learning_is_named():
    (run,) = harness.plan("method=atjem", "precision=bf16", *SMALL)
    stage = run.method.stages["joint"]
    assert {stage.training.precision, stage.attack.precision, stage.contrast.walk.precision} == {"bf16"}
    assert run.method.sampler.precision == "fp32"


def test_a_run_in_fp32_has_the_name_it_always_had_and_one_in_bf16_another():
    names = [harness.plan("method=atjem", f"precision={one}")[0].name for one in ("fp32", "tf32", "bf16")]
    assert names[0] == harness.plan("method=atjem")[0].name == "atjem-digits-s0-c1a31312"
    assert len(set(names)) == 3
    assert harness.plan("method=atjem", "precision=bf16")[0].config.overrides == ["precision=bf16"]


def test_samples_in_less_are_refused():
    config = harness.plan("method=atjem", *SMALL)[0].config
    method = {**config.method, "sampler": {**config.method["sampler"], "precision": "bf16"}}
    with pytest.raises(UserError, match="fp32"):
        check_all([Run(replace(config, method=method))])


def test_the_direction_of_a_step_is_nearly_that_of_fp32():
    model = initial(harness.plan("method=atjem", *SMALL)[0])
    x, y = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 10
    model.eval()
    exact, _ = slope(model, x, joint_logit(y))
    with computing("bf16", CPU):
        rounded, _ = slope(model, x, joint_logit(y))
    cosine = torch.nn.functional.cosine_similarity(exact.flatten(1), rounded.flatten(1))
    assert cosine.mean() > 0.99 and cosine.min() > 0.9 and not torch.equal(exact, rounded)


def test_a_walk_in_fp32_stays_so_inside_of_learning_in_bf16():
    model = initial(harness.plan("method=atjem", *SMALL)[0])
    x, y = torch.rand(4, 1, 8, 8), torch.arange(4)
    alone = walk(model, x, joint_logit(y), Walk(3, 0.1))
    with computing("bf16", CPU):
        inside = walk(model, x, joint_logit(y), Walk(3, 0.1))
    assert torch.equal(alone, inside)


def test_tf32_is_set_inside_alone():
    def flags():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    for precision, allowed in (("fp32", False), ("tf32", True), ("bf16", True)):
        with computing(precision, CPU):
            assert flags() == (allowed, allowed)
        assert flags() == before


def test_what_torch_cannot_compile_is_trained_as_it_is(tmp_path, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise RuntimeError("no compiler here")

    weights = []
    for compile in ("false", "true"):
        (run,) = harness.plan("method=standard", f"compile={compile}", f"runs={tmp_path / compile}", *SMALL)
        training = run.stage_runs[0]
        how = {"compile": run.config.compile}
        loop = Step(training.stage, initial(run), StageInputs(run.data, None, (0,), CPU, **how))
        monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
        loop(*next(loop.batches()))
        weights.append(loop.model.state_dict())
    assert all(torch.equal(one, other) for one, other in zip(*(w.values() for w in weights), strict=True))
    assert "no compiler here" in caplog.text


def test_a_compiled_net_learns_the_same_and_keeps_its_names(tmp_path):
    weights = []
    for compile in (False, True):
        (run,) = harness.plan("method=standard", *SMALL)
        training = run.stage_runs[0]
        materials = StageInputs(run.data, None, (0,), CPU, compile=compile)
        loop = Step(training.stage, initial(run), materials)
        loop(*next(loop.batches()))
        weights.append({name: value.clone() for name, value in loop.result().state_dict().items()})
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


def test_walks_alone_are_compiled_also_where_learning_cannot_be(monkeypatch, caplog):
    """Its learning pass has gradients of gradients; the compiler gets one pass in which no weight learns."""
    graphs, weights = [], []

    def note(graph, inputs, **options):
        graphs.append([p.requires_grad for p in inputs if isinstance(p, torch.nn.Parameter)])
        return graph.forward

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", note)
    torch._dynamo.reset()
    for compile in (False, "walk"):
        (run,) = harness.plan("method=generative", "method.generate.r1=1", "method.robust=null", *SMALL)
        stage = run.stage_runs[0].stage
        step = Step(stage, initial(run), StageInputs(run.data, outliers(run), (0,), CPU, compile=compile))
        step.state = stage.at_full_length(step.state)
        for (number, batch), _ in zip(step.batches(), range(3), strict=False):
            step(number, batch)
        weights.append(list(step.result().state_dict().values()))
    torch._dynamo.reset()
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))
    assert len(graphs) == 1 and graphs[0] and not any(graphs[0]) and "left out" not in caplog.text


def test_walks_in_bf16_are_compiled_once(monkeypatch):
    """Their weights are cast for each walk, into new tensors, for which a compiled pass is not compiled again."""
    graphs = []
    compiler = "torch._inductor.compile_fx.compile_fx"
    monkeypatch.setattr(compiler, lambda graph, inputs, **options: graphs.append(inputs) or graph.forward)
    torch._dynamo.reset()
    (run,) = harness.plan("method=at", "precision=bf16", *SMALL)
    step = Step(run.stage_runs[0].stage, initial(run), StageInputs(run.data, None, (0,), CPU, compile="walk"))
    for (number, batch), _ in zip(step.batches(), range(3), strict=False):
        step(number, batch)
        assert len(graphs) == 2, "one with gradients, and one for the value of the last iterate"
    torch._dynamo.reset()


def test_gradients_of_gradients_are_not_compiled_and_that_is_said(tmp_path, caplog):
    (run,) = harness.plan("method=generative", "method.generate.r1=1", "method.robust=null", *SMALL)
    training = run.stage_runs[0]
    materials = StageInputs(run.data, outliers(run), (0,), CPU, compile=True)
    loop = Step(training.stage, initial(run), materials)
    loop(*next(loop.batches()))
    assert "gradients of gradients" in caplog.text
