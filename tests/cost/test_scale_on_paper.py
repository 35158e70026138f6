"""The price of a study on many GPUs is its counted work over the assumed speeds: by hand, for a net of two layers."""

import importlib.util
from math import ceil
from pathlib import Path

import pytest
import torch
from pyautoattack import AutoAttack
from torch import nn

import harness
from harness.core.energy import EnergyModel
from harness.core.walk import frozen
from harness.runs.passes import count_passes

FILE = Path(__file__).parents[2] / "benchmarks" / "scale.py"
spec = importlib.util.spec_from_file_location("scale", FILE)
scale = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scale)

NET = ("model=small", "model.strides=[1]", "model.width=2", "model.norm=none")
CONVOLUTION, HEAD = 2 * 64 * 9 * 2, 2 * 128 * 10
"""FLOP of a forward: 3 x 3 weights of 2 channels at 64 pixels, then 128 numbers to 10 logits."""
WALKED = 2 * (CONVOLUTION + HEAD)
LEARNED = 3 * (CONVOLUTION + HEAD) - CONVOLUTION
"""FLOP of an input gradient, and of a training pass, which does not need the convolution's."""
WEIGHTS = (9 * 2 + 2) + (128 * 10 + 10)

SPEEDS = scale.Speeds(tflops=1e-6, cores=3, prepared=50, photograph=1e5, link=1e6, storage=1e8, copy=1e9)


@pytest.fixture
def run():
    (planned,) = harness.plan("method=atjem", *NET)
    return planned


def test_a_step_is_counted(run):
    first, last = scale.load_of(run, False), scale.load_of(run, True)
    # 128 images of each stream; an attack of 10 steps, a walk of 0 to 20, and a pass of all three parts.
    assert (first.passes, last.passes) == (128 * (10 + 3), 128 * (10 + 20 + 3))
    assert (first.sequence, last.sequence) == (11, 31)
    assert first.flop == 128 * (10 * WALKED + 3 * LEARNED) and last.flop - first.flop == 128 * 20 * WALKED
    assert first.images == last.images == 3 * 128 and first.gradients == 4 * WEIGHTS


def test_terms_are_work_over_speed_and_meet_where_it_says():
    load = scale.Load(passes=7, flop=6e6, sequence=7, images=300, gradients=4 * WEIGHTS)
    seconds = SPEEDS.seconds(load, 4)
    # 6 MFLOP at 1 MFLOP/s; a ring sends 3 quarters of the gradients twice; 12 cores; 30 MB at 100 MB/s.
    assert seconds == pytest.approx(
        {"compute": 1.5, "all-reduce": 1.5 * 5.24e-3, "decoding": 0.5, "reading": 0.3}, rel=0.01
    )
    for term, gpus in SPEEDS.limits(load).items():
        met = SPEEDS.seconds(load, gpus)
        assert met[term] == pytest.approx(met["compute"])
    # Six seconds of computing alone, and six of one core for 300 photographs.
    assert SPEEDS.cores_needed(load) == pytest.approx(1)


def test_an_evaluation_ends_with_its_last_round_of_pieces(run):
    jobs = scale.evaluation_of(run)
    samples = jobs[0]
    count, chunk = (run.config.protocol["samples"][key] for key in ("count", "chunk"))
    assert samples.pieces == ceil(count / chunk) and samples.flop == chunk * run.method.sampler.steps * WALKED
    assert scale.Job("", 10, 3.6e15).hours(4, 1) == 3


def test_the_bound_on_autoattack_is_what_it_does():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 8), nn.Tanh(), nn.Linear(8, 10))
    model, x = EnergyModel(layers, (0.5,) * 3, (0.5,) * 3).eval(), torch.rand(2, 3, 8, 8)
    # At this radius no image falls.
    attack = AutoAttack(model, norm="L2", eps=1e-6, seed=0)
    attack.verbose = False
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = 3
    attack.apgd.n_iter, attack.apgd_targeted.n_iter, attack.fab.n_iter, attack.square.n_queries = 4, 5, 6, 40
    with frozen(model), count_passes(model) as passes:
        attack.run_standard_evaluation(x, model(x).argmax(1), batch_size=2)
    made = {kind: sum(n for one, n in passes.items() if one.kind == kind) for kind in ("forward", "input gradient")}
    gradients, forwards = scale.passes_of_autoattack(attack)
    assert (gradients, forwards) == (5 + 3 * 6 + 3 * 6, 3 * 6 + 40)
    assert made["input gradient"] == gradients and forwards <= made["forward"] <= forwards + 40
