"""The largest passes are tried before training, so that memory fails first; nothing else is changed by that."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from commandline import quick

import harness
from harness.core.errors import UserError
from harness.core.files import read_json
from harness.runs import execute, rehearsal
from harness.runs.failure import RunFailed
from harness.runs.progress import Watch
from harness.runs.rehearsal import largest_chunk, rehearse
from harness.training.step import Step

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path):
    """A small run of two stages, one of whose walks grows over the training."""
    (run,) = harness.plan(*quick("atjem", steps=2), f"runs={tmp_path / 'runs'}", "data.test=60")
    return run


@pytest.fixture
def memory(monkeypatch):
    """Let the net for digits take a number of images at a time; returns the sizes of its passes."""
    from harness.models.digits import Digits

    limit, passes = {"images": 10**6}, []

    def forward(net, x):
        passes.append(len(x))
        if len(x) > limit["images"]:
            raise torch.OutOfMemoryError(f"Tried to allocate memory for {len(x)} images")
        return torch.nn.Sequential.forward(net, x)

    monkeypatch.setattr(Digits, "forward", forward)
    return limit, passes


def with_config(run, **changes):
    return type(run)(replace(run.config, **changes))


@pytest.mark.parametrize(
    ("overrides", "images"),
    [
        ((), 35),
        (("protocol.samples.chunk=500",), 70),
        (("protocol.metrics.robustness.chunk=50",), 50),
        (("protocol.metrics.robustness.chunk=500",), 60),
        (("protocol.metrics.counterfactuals.chunk=50", "++protocol.metrics.counterfactuals.count=45"), 45),
        (("protocol.metrics.ood.scores=[energy,gradient]", "data.test=90"), 90),
        (("protocol.metrics.ood.count=80", "protocol.metrics.ood.chunk=75"), 75),
        (("method.sampler.steps=0", "~protocol.selection"), 10),
    ],
)
def test_the_largest_chunk_is_that_of_samples_or_of_a_metric(overrides, images, tmp_path):
    base = [*quick("at"), "data.test=60", "protocol.metrics.ood.scores=[energy]"]
    fixed = [
        part
        for part in base
        if not any(part.lstrip("+").split("=")[0] == o.lstrip("+").split("=")[0] for o in overrides)
    ]
    if any(o.startswith("~protocol.selection") for o in overrides):
        fixed = [part for part in fixed if "selection" not in part]
    (run,) = harness.plan(*fixed, *overrides)
    assert largest_chunk(run) == images


def test_a_chunk_that_does_not_fit_is_told_with_microbatch_and_fits_with_it(run, memory):
    limit, passes = memory
    limit["images"] = 48
    with pytest.raises(UserError) as caught:
        rehearse(run, CPU)
    for part in ("Out of memory (Tried to", "before training", "attack step", "60 images", "microbatch=N"):
        assert part in str(caught.value)
    assert passes == [60], "nothing else may be tried first"
    rehearse(with_config(run, microbatch=17), CPU)
    assert max(passes[1:]) == 48


def test_a_batch_that_does_not_fit_is_told_with_accumulate_and_fits_with_it(run, memory):
    limit, _ = memory
    limit["images"] = 15
    with pytest.raises(UserError, match=r"training step of stage robust, on a batch of 16, .*accumulate=N.*now 1"):
        rehearse(with_config(run, microbatch=10), CPU)
    rehearse(with_config(run, microbatch=10, accumulate=4), CPU)


def test_another_error_is_not_called_one_of_memory(run, monkeypatch):
    monkeypatch.setattr(rehearsal, "walk", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rehearse(run, CPU)


def test_stages_are_tried_at_their_full_length_and_those_that_ended_are_not(run, monkeypatch):
    tried = []
    step = Step.__call__
    monkeypatch.setattr(Step, "__call__", lambda self, *given: tried.append(self) or step(self, *given))
    rehearse(run, CPU)
    robust, joint = (type(stage_run.stage) for stage_run in run.stage_runs)
    assert [type(one.stage) for one in tried] == [robust, robust, joint, joint]
    full = run.stage_runs[1].stage.at_full_length({"T": torch.tensor(0.0)})
    assert int(tried[-1].state["T"]) == int(full["T"]) > 0
    (run.stage_runs[0].folder).mkdir(parents=True)
    (run.stage_runs[0].folder / "done.json").touch()
    tried.clear()
    rehearse(run, CPU)
    assert [type(one.stage) for one in tried] == [joint, joint]


def test_no_random_state_changes_and_nothing_is_written(run, tmp_path):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    rehearse(run, CPU)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
    assert all(np.array_equal(one, other) for one, other in zip(np.random.get_state(), before[2], strict=True))
    assert list(tmp_path.iterdir()) == []


def test_weights_are_the_same_with_and_without_it(tmp_path, monkeypatch):
    digests = []
    for tried in (False, True):
        monkeypatch.setattr(execute, "rehearses", lambda device, tried=tried: tried)
        overrides = [o for o in quick("atjem", steps=2) if not o.lstrip("+").startswith("protocol.")]
        (run,) = harness.plan(*overrides, "protocol=digits_stability", f"runs={tmp_path / str(tried)}")
        run.freeze()
        execute.execute(run, Watch())
        digests.append([read_json(stage_run.folder / "done.json")["weights"] for stage_run in run.stage_runs])
    assert digests[0] == digests[1]


@pytest.mark.parametrize("alone", [False, True])
def test_on_a_device_memory_fails_before_the_first_step(run, memory, monkeypatch, alone):
    limit, _ = memory
    limit["images"] = 34
    monkeypatch.setattr(execute, "rehearses", lambda device: True)
    run.freeze()
    with pytest.raises(UserError if alone else RunFailed, match="microbatch=N"):
        execute.train_alone(run, run.stage_runs[0]) if alone else execute.execute(run, Watch())
    assert not list(run.root.rglob("metrics.jsonl"))
    if not alone:
        assert "microbatch=N" in (run.folder / "failure.md").read_text()


def test_it_is_done_on_gpus_alone():
    assert execute.rehearses(torch.device("cuda:1")) and not execute.rehearses(CPU)
