"""The benchmark compiles a net as often as training does, and draws its random images once."""

import pytest
import torch
from torch._dynamo.utils import counters

import harness
from harness.cost.rounds import cost
from harness.runs import standin
from harness.runs.build import initial
from harness.runs.standin import RandomImages, RandomOutliers
from harness.training.batches import StageInputs
from harness.training.step import Step

CPU = torch.device("cpu")


@pytest.fixture
def compiled(monkeypatch):
    """The numbers of functions that torch traced in order to compile them."""
    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", lambda graph, inputs, **options: graph.forward)
    torch._dynamo.reset()
    counters.clear()
    yield counters["frames"]
    torch._dynamo.reset()


def step_of(method, compile):
    small = ("threads=1", "tracking=off", "model.width=4")
    (run,) = harness.plan(f"method={method}", *small, "method.robust.training.batch=8")
    stage = run.stage_runs[0].stage
    return Step(stage, initial(run), StageInputs(run.data, None, (0,), CPU, compile=compile))


def test_counting_passes_compiles_nothing(compiled):
    step = step_of("at", compile=True)
    _, batch = next(step.batches())
    step(0, batch)
    step(1, batch)
    needed = dict(compiled)
    torch._dynamo.reset()
    compiled.clear()
    timing = cost("robust", step_of("at", compile=True), 1, "CPU")
    assert compiled == needed and needed["total"] > 0 and timing.seconds["floor"]


def test_passes_are_those_of_a_step_that_is_not_compiled(compiled, monkeypatch):
    counted = []
    bare = "harness.cost.rounds.bare"
    monkeypatch.setattr(bare, lambda model, passes, images: counted.append(dict(passes)) or (lambda: None))
    for compile in (False, True):
        cost("robust", step_of("at", compile), 1, "CPU")
    assert counted[0] == counted[1] and sum(counted[0].values()) == 12


def test_random_images_are_drawn_once(monkeypatch):
    draws, rand = [], torch.rand
    monkeypatch.setattr(torch, "rand", lambda *given, **how: draws.append(given) or rand(*given, **how))
    data = RandomImages((3, 5, 7), 10)
    batches = [RandomOutliers(data).images([(index, 0) for index in range(4)]) for _ in range(3)]
    images, _ = data.view("train", "real").__getitems__([(index, 0) for index in range(4)])
    assert len(draws) == 1 and all(torch.equal(batch, images) for batch in batches)
    batches[0].zero_()
    assert torch.equal(RandomOutliers(data).images([(0, 0)]), images[:1]), "what is fetched is a copy"


def test_random_images_of_another_shape_are_others():
    assert standin._noise((1, 2, 3)).shape[1:] == (1, 2, 3) and standin._noise((3, 2, 1)).shape[1:] == (3, 2, 1)
