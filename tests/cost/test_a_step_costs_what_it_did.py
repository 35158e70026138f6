"""A training step costs as many passes, reads and allocations as before: counts that are equal on every machine.

A number that grows needs a reason, which docs/performance.md gives.
"""

from pathlib import Path

import pytest
import torch
from counting import Allocations, Reads

from harness import plan
from harness.runs.build import initial, outliers
from harness.runs.passes import count_passes
from harness.training.batches import StageInputs
from harness.training.step import Step

ROBUST = ("robust", {"input gradient of 128": 10, "forward of 128": 1, "training of 128": 1}, 1, 971)
"""A stage, its network passes by number of images, its reads from the device, and the tensors that it allocates."""

COSTS = {
    "standard": [("classify", {"training of 128": 1}, 1, 105)],
    "at": [ROBUST],
    "atjem": [ROBUST, ("joint", {"input gradient of 128": 30, "training of 384": 1}, 1, 2033)],
    "generative": [ROBUST, ("generate", {"input gradient of 128": 20, "training of 256": 1}, 1, 1469)],
    "jem": [("energy", {"training of 64": 3, "input gradient of 64": 10}, 1, 516)],
    "jempp": [("energy", {"training of 64": 3, "input gradient of 64": 10}, 3, 793)],
    "sadajem": [("energy", {"training of 64": 4, "input gradient of 64": 5, "training of 128": 2}, 3, 816)],
    "ebjdat": [
        (
            "joint",
            {
                "forward of 128": 1,
                "input gradient of 128": 5,
                "training of 64": 4,
                "input gradient of 64": 5,
                "training of 128": 4,
            },
            3,
            1538,
        )
    ],
    "ratio": [("inout", {"input gradient of 128": 30, "forward of 128": 2, "training of 256": 1}, 1, 2797)],
    "trades": [("tradeoff", {"forward of 128": 1, "input gradient of 128": 10, "training of 128": 2}, 1, 940)],
}

TORCH = next(
    line[7:]
    for line in (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    if line.startswith("torch==")
)
"""The torch version whose allocations are counted; another version may allocate differently."""


def loops(method, tmp_path):
    """Yield the small stages of a method on digits, ready for their most expensive kind of step."""
    fields = [f"method={method}", "model.width=4", "threads=1", "tracking=off", f"runs={tmp_path}"]
    (run,) = plan(*fields)
    for training in run.stage_runs:
        source = outliers(run) if "outliers" in training.stage.streams else None
        materials = StageInputs(run.data, source, (0, training.name), torch.device("cpu"))
        loop = Step(training.stage, initial(run), materials)
        loop.state = training.stage.at_full_length(loop.state)
        yield training.name, loop


def at_home(loop):
    """The tensors that stay on the host: a stage's scalars, and the counters of the optimiser and the average."""
    counters = [state["step"] for state in loop.optimizer.state.values() if "step" in state]
    counters += [loop.average.n_averaged] if loop.average else []
    return [value for value in loop.state.values() if value.dim() < 4] + counters


@pytest.mark.parametrize("method", COSTS)
def test_passes_reads_and_allocations_of_a_step(method, tmp_path):
    for (name, loop), (stage, kinds, read, allocated) in zip(loops(method, tmp_path), COSTS[method], strict=True):
        assert name == stage
        step, batch = next(loop.batches())
        loop(step, batch)  # the first step also allocates the optimiser's buffers
        with count_passes(loop.model) as passes:
            loop(step, batch)
        assert {f"{one.kind} of {one.images}": times for one, times in passes.items()} == kinds
        with Reads(at_home(loop)) as reads:
            loop(step, batch)
        assert reads.count == read
        with Allocations() as allocations:
            loop(step, batch)
        if torch.__version__.split("+")[0] == TORCH:
            assert allocations.count == allocated


def test_the_counters_count():
    x = torch.zeros(3, requires_grad=True)
    at_home = torch.tensor(1)
    with Reads([at_home]) as reads:
        if at_home + 1 > 0:
            x.sum().item()
        float(x.detach().cpu().mean())
        x[x > 0], x.detach().nonzero(), x[torch.tensor([0])]
    assert reads.count == 4
    with Allocations() as allocations:
        y = x.detach() + 1
        y.add_(1).view(3, 1)
    assert allocations.count == 1
