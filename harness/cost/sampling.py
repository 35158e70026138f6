"""Drawing samples, timed in turn with a plain walk and with the bare passes of the net."""

import torch

from harness.core.random import generator
from harness.core.walk import joint_logit
from harness.cost.plain_steps import plain_walk
from harness.cost.rounds import FLOOR, OURS, Timing, peak_bytes, references, time_in_turn
from harness.evaluation.samples import draw_of
from harness.runs import pace
from harness.runs.build import initial, outliers
from harness.runs.passes import bare, count_passes
from harness.runs.run import Run
from harness.runs.standin import stand_in_data, stand_in_outliers


def measure_sampling(run: Run, device: torch.device, rounds: int, count: int) -> Timing:
    """Measure drawing `count` samples with the sampler of a run, from initial weights, which are as fast as any."""
    data, sampler = stand_in_data(run.data), run.method.sampler
    source, model = stand_in_outliers(outliers(run), data), initial(run).to(device)
    labels = torch.arange(count, device=device) % len(data.classes)
    starts = source.starts(range(count)).to(device)
    state = run.stage_runs[-1].stage.state(data, generator(device, "state")) if run.stage_runs else {}

    def ours() -> object:
        return draw_of(run.method, model, state, source, labels, 0, range(count))

    def reference() -> object:
        return plain_walk(model, starts, joint_logit(labels), sampler, sampler.steps)

    # Count the passes of our sampler; the floor repeats exactly these.
    with count_passes(model) as passes:
        ours()
    variants = {OURS: ours, **references(reference, device), FLOOR: bare(model, passes, starts)}
    seconds, sections = time_in_turn(variants, lambda: None, rounds, device)
    held_by = peak_bytes(variants, device)
    return Timing("sampling", pace.name(device), count, data is not run.data, seconds, sections, held_by)
