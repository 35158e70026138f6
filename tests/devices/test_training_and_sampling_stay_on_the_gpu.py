"""Every method trains, resumes and samples on a GPU, its walks never wait for the host, and numbers are the CPU's."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from commandline import STAGES
from pretended_gpu import CPU, GPU, PretendedGPU, nccl
from untrained import UNTRAINED

import harness
from harness.core.distributed import ALONE, World
from harness.core.registry import names
from harness.evaluation.samples import draw
from harness.evaluation.selection import with_steps
from harness.runs.build import outliers, stage_inputs, untrained
from harness.training.checkpoint import copy_to_cpu
from harness.training.step import Step

METHODS = [method for method in names("method") if method not in UNTRAINED]
"""All that train; what the others do on a GPU, these do too."""

BATCH, WALK = 8, 3

FIGURES = "harness/training/step.py"
CHAINS = {"methods/jempp.py": 2}
RESTARTS = {"jempp": CHAINS, "sadajem": CHAINS, "ebjdat": CHAINS, "hdge": {"methods/hdge.py": 1}}
"""Where a step waits for the GPU, and how often."""
SMALL = ("model.width=4", "outliers.count=40", "tracking=off", "threads=1")


def plan(method, *more):
    (run,) = harness.plan(f"method={method}", *SMALL, *more)
    return run


def step_of(run, name, device, world=ALONE):
    """The step of a stage, in which its walk is as long as it gets."""
    stage = run.method.stages[name]
    small = replace(stage, training=replace(stage.training, batch=BATCH, epochs=4 * BATCH / run.data.length("train")))
    inputs = replace(stage_inputs(run, name, small, device), workers=0, world=world)
    step = Step(small, untrained(run).to(device), inputs)
    step.state = small.at_full_length(step.state)
    return step


def train(run, device):
    """Two steps of each stage, and one after a resume: the figures of all, and the last step."""
    figures = {}
    for name in run.method.stages:
        step = step_of(run, name, device)
        for number, batch in step.batches():
            if number == 2:
                saved, step = copy_to_cpu(step.content()), step_of(run, name, device)
                step.restore(saved)
            figures |= {f"{name}/{number}/{key}": value for key, value in step(number, batch).items()}
            if number == 2:
                break
    return figures, step


def sample(run, step, device):
    """Four images of the method's sampler, with few steps."""
    method = with_steps(run.method, WALK) if run.method.sampler.steps else run.method
    classes = len(run.data.classes)
    return draw(method, step.model.eval(), step.state, outliers(run), classes, 0, range(4), device)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_and_samples_on_a_gpu(method):
    run = plan(method)
    figures, step = train(run, CPU)
    images = sample(run, step, CPU)
    with PretendedGPU() as gpu:
        figures_there, step = train(run, GPU)
        assert gpu.waits_in_walks() == []
        assert all(value.device == GPU for value in step.result().state_dict().values() if value.dim())
        images_there = sample(run, step, GPU)
        # The noise of samples is drawn on the CPU, by a generator for each image.
        assert not [wait for wait in gpu.waits_in_walks() if "copy to the GPU at harness/core/random.py" not in wait]
        assert images_there.device == GPU
        there = images_there.cpu()
    assert figures_there == pytest.approx(figures, rel=1e-3, abs=1e-4)
    torch.testing.assert_close(there, images, rtol=0, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_waits_only_where_it_reads_its_figures_and_which_chains_restart(method):
    run = plan(method)
    with PretendedGPU() as gpu:
        for name in run.method.stages:
            step = step_of(run, name, GPU)
            for number, batch in step.batches():
                gpu.waits.clear()
                step(number, batch)
                if number == 1:  # in the first one the average begins
                    break
            found = Counter(wait.where.partition(":")[0] for wait in gpu.waits)
            assert found == {FIGURES: 1, **RESTARTS.get(method, {})}, gpu.waits


@pytest.mark.parametrize("method", METHODS)
def test_the_collectives_of_a_step_are_those_of_the_gpu(method):
    run = plan(method, "model.norm=none")
    with PretendedGPU():
        for name in run.method.stages:
            step = step_of(run, name, GPU, World(0, 2))
            number, batch = next(step.batches())
            with nccl():
                step(number, batch)


def test_every_method_of_the_command_line_is_tried():
    assert set(METHODS) == set(STAGES)
