"""The benchmark compares equal work: the reference step learns the same, and the floor makes the same passes."""

import json
import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch

import harness
from harness.core.timing import Clock, section
from harness.cost.bench import _step, _step_bytes, largest_batch
from harness.cost.memory import peak
from harness.cost.plain_steps import LOSSES, PlainStep
from harness.cost.price import Price
from harness.runs.build import initial, outliers
from harness.runs.pace import Paces
from harness.runs.passes import bare, count_passes
from harness.runs.standin import RandomImages, RandomOutliers
from harness.training.batches import StageInputs
from harness.training.step import Step

ROOT = Path(__file__).parents[2]
LACKING = ("hydra", "omegaconf", "pydantic", "mlflow", "submitit", "rich", "pandas", "scipy", "sklearn", "psutil")
CPU = torch.device("cpu")
SMALL = ("threads=1", "tracking=off", "model.width=4")
STAGES = {"standard": "classify", "at": "robust", "atjem": "joint", "generative": "generate", "jem": "energy"}


def ready(method, folder):
    """A stage's training loop at its most expensive step, and a batch."""
    (run,) = harness.plan(f"method={method}", *SMALL)
    training = next(training for training in run.stage_runs if training.name == STAGES[method])
    source = outliers(run) if "outliers" in training.stage.streams else None
    loop = Step(training.stage, initial(run), StageInputs(run.data, source, (0,), CPU))
    loop.state = training.stage.at_full_length(loop.state)
    return loop, next(loop.batches())[1]


@pytest.mark.parametrize("method", [method for method in STAGES if method != "jem"])  # jem's chains are random
def test_the_reference_learns_what_we_learn(method, tmp_path):
    loop, batch = ready(method, tmp_path)
    other, _ = ready(method, tmp_path / "other")
    reference = PlainStep(other.stage, other.model, deepcopy(other.model), other.state)
    loop(0, batch)
    for group in reference.optimizer.param_groups:
        group["lr"] = other.stage.training.rate(0, other.steps)
    reference.step(batch)
    moved = 0
    start = ready(method, tmp_path / "start")[0].model.state_dict()
    for name, value in loop.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, rtol=1e-3, atol=2e-5)
        moved += int(not torch.equal(start[name], value))
    assert moved > 4


def test_every_reference_is_tried_here():
    named = {type(harness.plan(f"method={method}")[0].method.stages[stage]) for method, stage in STAGES.items()}
    assert named == set(LOSSES)


@pytest.mark.parametrize("method", STAGES)
def test_the_floor_makes_the_passes_of_our_step(method, tmp_path):
    loop, batch = ready(method, tmp_path)
    with count_passes(loop.model) as ours:
        loop(0, batch)
    before = {name: value.clone() for name, value in loop.model.named_parameters()}
    make = bare(loop.model, ours, torch.rand(8, 1, 8, 8))
    with count_passes(loop.model) as floor:
        make()
    assert floor == ours and sum(ours.values()) > 0
    assert all(torch.equal(before[name], value) for name, value in loop.model.named_parameters())
    assert all(p.grad is None and p.requires_grad for p in loop.model.parameters())


def test_memory_is_the_most_that_is_held_at_a_time():
    def work():
        one = torch.empty(1000, 1000)
        two = one + 1
        del one
        three = two * 2
        del two
        return three

    assert 8e6 <= peak(work, CPU) < 8.1e6


def test_a_section_has_the_time_of_what_is_in_no_inner_one(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("harness.core.timing.time.perf_counter", lambda: next(now))
    clock = Clock(CPU)
    with clock.running(), section("outer"):  # 0
        with section("inner"):  # 1
            pass  # 2
        with section("inner"):  # 3
            pass  # 4
    assert clock.seconds == {"outer": 3, "inner": 2}  # 5
    with section("nobody listens"):
        pass
    assert next(now) == 6


def test_the_command_prints_and_keeps_what_it_measured_and_plan_knows_it(type_, tmp_path):
    status, told, err = type_("bench", "method=atjem", "stage=joint", "rounds=2", *SMALL)
    assert status == 0, err
    for word in (
        "harness",
        "reference",
        "floor",
        "contrastive PGD",
        "attack",
        "forward and backward",
        "data",
        "checkpoint",
    ):
        assert word in told
    (path,) = (tmp_path / "reports" / "bench").glob("*.json")
    (kept,) = json.loads(path.read_text())
    assert 0 < kept["sections"]["checkpoint"] < kept["sections"]["forward and backward"]
    assert len(kept["seconds"]["harness"]) == 2 and kept["ratios"]["floor"][0] > 0 and not kept["standin"]
    (run,) = harness.plan("method=atjem", *SMALL)
    price = Price(run, Paces(run.root))
    assert price.pace(run.stage_runs[0]) is None and price.pace(run.stage_runs[1]).upper


@pytest.mark.parametrize("method", ["atjem", "jem"])
def test_sampling_is_measured_too(method, type_, tmp_path):
    status, told, err = type_("bench", "of=sampling", f"method={method}", "n=20", "rounds=2", *SMALL)
    assert status == 0, err
    for word in ("sampling", "reference", "floor", "SGLD" if method == "jem" else "contrastive PGD"):
        assert word in told
    (path,) = (tmp_path / "reports" / "bench").glob("*sampling*.json")
    assert json.loads(path.read_text())[0]["batch"] == 20


def test_attacks_are_measured_on_a_trained_run(type_):
    run = ("method=standard", "method.classify.training.epochs=3", *SMALL)
    status, told, err = type_("bench", "of=attacks", *run)
    assert status == 2 and "not trained yet" in err
    status, told, err = type_(*run, "protocol=digits_stability")
    assert status == 0, err
    status, told, err = type_("bench", "of=attacks", "protocol=digits_stability", *run)
    assert status == 2 and "has no attack" in err
    fast = ("protocol.metrics.robustness.eps=0.01", "+protocol.metrics.robustness.attacks=[apgd-ce,apgd-t]")
    status, told, err = type_("bench", "of=attacks", "n=4", "rounds=1", *fast, *run)
    assert status == 0, err
    for word in ("harness", "reference", "floor", "apgd-ce", "apgd-t", "4 images"):
        assert word in told


def test_random_images_stand_in_for_files_that_are_not_here_and_that_is_said(type_):
    small = ("model.depth=10", "model.widen=1", "method.classify.training.batch=4", "threads=1", "workers=0")
    status, told, err = type_("bench", "method=standard", "data=cifar10", "rounds=1", *small)
    assert status == 0 and "random images replace" in told, err


def test_random_images_have_the_shape_and_classes_that_were_asked_for():
    data = RandomImages((3, 6, 5), 7)
    images, labels = data.tensors("train")
    assert images.shape[1:] == (3, 6, 5) and set(labels.tolist()) == set(range(7))
    assert RandomOutliers(data).starts([0, 5000]).shape == (2, 3, 6, 5)


def test_a_stage_that_is_not_there_is_explained(type_):
    status, _, err = type_("bench", "method=atjem", "stage=join")
    assert status == 2 and "joint" in err


@pytest.mark.parametrize(("method", "stage"), [("standard", "classify"), ("atjem", "joint"), ("jem", "energy")])
def test_the_largest_batch_is_found_by_how_memory_grows(method, stage, monkeypatch):
    (run,) = harness.plan(f"method={method}", *SMALL)
    training = next(training for training in run.stage_runs if training.name == stage)
    monkeypatch.setattr("harness.cost.bench._free", lambda device: 15_000_000)
    most = largest_batch(run, training, CPU)
    assert 12e6 < _step_bytes(_step(run, training, CPU, most)) < 15e6, "it must take nine tenths of the memory"


def test_it_runs_where_only_torch_torchvision_and_timm_are_installed(tmp_path):
    code = (
        "import sys, runpy; sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in repr(f)]\n"
        f"for name in {LACKING!r}: sys.modules[name] = None\n"
        "sys.argv = ['training_step.py', 'wrn-10-1', '--batch', '1', '--T', '1', '--rounds', '1', '--device', 'cpu']\n"
        f"runpy.run_path({str(ROOT / 'benchmarks' / 'training_step.py')!r}, run_name='__main__')"
    )
    apart = {**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}  # otherwise torch imports the installed harness
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=apart, text=True, capture_output=True)
    assert "| reference |" in done.stdout and "contrastive PGD" in done.stdout, done.stderr
