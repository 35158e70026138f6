"""The largest passes of a run, tried before it trains, so that memory fails in the first seconds or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import torch

from harness.core.device import full_precision, release_memory, reset_peak_memory
from harness.core.distributed import join
from harness.core.errors import Diverged, UserError, out_of_memory
from harness.core.walk import Walk, marginal_score, walk
from harness.evaluation import evaluator
from harness.runs import build
from harness.runs.failure import no_memory
from harness.runs.run import Run, StageRun
from harness.training.step import Step

ATTACK = Walk(steps=1, step=1.0)
"""One gradient of the pixels, as attacks, counterfactuals and samplers take at each step."""


def rehearse(run: Run, device: torch.device) -> None:
    """Try an attack step on the largest chunk of the evaluation, and a training step of each stage that is left.

    UserError, which names what to lower, if one does not fit in the device's memory. All processes of a run call this.
    No random state changes, and nothing is written.
    """
    world = join()
    world.connect(device)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        images = largest_chunk(run)
        remedy = "microbatch=N, the number of images that the net takes at a time; no result depends on it."
        with _explained(f"One attack step of the evaluation, on a chunk of {images} images,", remedy):
            _attack(run, device, images)
        # Rank 0 says which stages are left, so that all ranks take the same steps together.
        remedy = f"accumulate=N, the number of pieces that a batch is taken in (now {run.config.accumulate})."
        for stage_run in run.stage_runs:
            if not world.on_main(lambda stage_run=stage_run: stage_run.ended):
                batch = stage_run.stage.training.batch
                with _explained(f"A training step of stage {stage_run.name}, on a batch of {batch},", remedy):
                    _train(run, stage_run, device)
    # The memory is free again, and does not count as the run's own peak.
    release_memory(device)
    reset_peak_memory(device)


def largest_chunk(run: Run) -> int:
    """Number of images in the largest pass with gradients of a run's evaluation; 0 if it takes none."""
    protocol = run.config.protocol
    metrics, sampling = evaluator.metrics(protocol, run.gives).values(), evaluator.sampling(protocol)
    drawn = any("generate" in metric.needs for metric in metrics) and run.method.sampler.steps > 0
    return max([min(sampling.chunk, sampling.count) * drawn, *(metric.largest_pass(run.data) for metric in metrics)])


def _attack(run: Run, device: torch.device, images: int) -> None:
    """Take one step on black images, in the precision and the micro-batches of evaluations."""
    model = build.in_micro_batches(run, build.untrained(run)).to(device).eval().requires_grad_(False)
    if images:
        with full_precision():
            walk(model, torch.zeros(images, *run.data.shape, device=device), marginal_score, ATTACK)


def _train(run: Run, stage_run: StageRun, device: torch.device) -> None:
    """Take the first step twice, at its full length: the second time beside the optimiser's own tensors."""
    inputs = build.stage_inputs(run, stage_run.name, stage_run.stage, device)
    step = Step(stage_run.stage, build.untrained(run).to(device), replace(inputs, workers=0, compile=False))
    step.state = stage_run.stage.at_full_length(step.state)
    number, batch = next(step.batches())
    with suppress(Diverged):  # of untrained weights; by then the memory was needed
        for _ in range(2):
            step(number, batch)


@contextmanager
def _explained(what: str, remedy: str) -> Iterator[None]:
    """Turn an error of memory into a UserError that says what did not fit, and what to lower."""
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise UserError(f"{no_memory(error)} before training. {what} does not fit. Set {remedy}") from error
