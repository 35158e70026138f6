"""The engine's numbers: three steps of each stage, samples, and each metric, at a tiny size on digits.

`python tests/helpers/numbers_of_engine.py` writes them anew: only after raising NUMERICS, when they are meant to move.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from commandline import MORE, STAGES, quick

import harness
from harness.core.method import State
from harness.core.random import derive
from harness.evaluation.samples import draw
from harness.evaluation.selection import with_steps
from harness.runs.build import outliers, stage_inputs, untrained
from harness.runs.run import NUMERICS, Run
from harness.training.step import Step

FILE = Path(__file__).parents[1] / "runs" / "numbers.json"
CPU = torch.device("cpu")
STEPS, IMAGES = 3, 4


def of_method(method: str) -> dict[str, list[float]]:
    """Loss terms and figures of three steps of each stage, the weights after them, and statistics of samples.

    Samples are those of untrained weights: after training, another order of sums would move them further.
    """
    (run,) = harness.plan(*quick(method, STEPS))
    numbers: dict[str, list[float]] = {}
    state: State = {}
    for name, stage in run.method.stages.items():
        inputs = replace(stage_inputs(run, name, stage, CPU), compile=False)
        step = Step(stage, untrained(run), inputs)
        for number, batch in step.batches():
            for figure, value in step(number, batch).items():
                numbers.setdefault(f"{name}/{figure}", []).append(value)
        state = step.state
        numbers[f"{name}/weights"] = [float(w.detach().double().abs().sum()) for w in step.result().parameters()]
    images = _samples(run, untrained(run).eval(), state)
    numbers["samples"] = [float(image.double().mean()) for image in images]
    numbers["samples, spread"] = [float(image.double().std()) for image in images]
    return numbers


def _samples(run: Run, model, state):
    method = with_steps(run.method, STEPS) if run.method.sampler.steps else run.method
    return draw(method, model, state, outliers(run), len(run.data.classes), 0, range(IMAGES), CPU)


def of_metrics() -> dict[str, list[float]]:
    """The scores of a tiny run under a protocol with all metrics, and its outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        (run,) = harness.plan(*quick("standard", STEPS), *MORE, f"runs={folder}")
        record = harness.run(run)
    scores = {f"metrics/{key}": [score.value] for key, score in record.scores.items()}
    return scores | {f"metrics/{key}": [float(bits.count("1"))] for key, bits in record.outcomes.items()}


def everything() -> dict[str, list[float]]:
    """All numbers of all methods, and of the metrics; and the first numbers that are derived from a seed."""
    numbers = {f"{method}/{key}": values for method in STAGES for key, values in of_method(method).items()}
    seeds = {"seeds": [float(derive(0, "sample", i) % 2**32) for i in range(3)]}
    return numbers | of_metrics() | seeds


if __name__ == "__main__":
    torch.set_num_threads(1)
    FILE.write_text(json.dumps({"numerics": NUMERICS, "numbers": everything()}, indent=1) + "\n")
