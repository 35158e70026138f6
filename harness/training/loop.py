"""Trains one stage: from the newest sound checkpoint to the stage's weights, whatever interrupts it."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.core.device import peak_memory_mb, release_memory, reset_peak_memory
from harness.core.energy import EnergyModel
from harness.core.errors import Diverged
from harness.core.files import append_line, read_lines, write_checked, write_text
from harness.core.method import Stage, State
from harness.core.signals import Leave, defer_signals
from harness.core.tensors import save_tensors
from harness.core.timing import section
from harness.training.batches import StageInputs
from harness.training.checkpoint import Checkpoints
from harness.training.meter import Meter
from harness.training.monitors import Monitors
from harness.training.step import Step

log = logging.getLogger(__name__)

POINTS = 500
"""Points of a stage's curves, at most."""


@dataclass(frozen=True)
class Progress:
    """Where a stage's training is; handed to `watch` after each step.

    checkpointed: whether a checkpoint of this step is being written. model: what the stage would hand on if it ended
    now. It and the state may be read, not changed.
    """

    step: int
    steps: int
    figures: dict[str, float]
    checkpointed: bool
    model: EnergyModel
    state: State


def train(
    stage: Stage,
    model: EnergyModel,
    inputs: StageInputs,
    folder: Path,
    checkpoint_seconds: float,
    watch: Callable[[Progress], None],
) -> None:
    """Train the model through a stage, in place, and write its weights, state, curves and cost into the folder.

    The model holds the stage's initial weights; a checkpoint in the folder replaces them. The result is the averaged
    model if the stage averages. Every process of `inputs.world` calls this; rank 0 writes. Raises Diverged or
    Collapsed, with the checkpoints kept, and Leave when a signal says so, with the last step saved.
    """
    # Begin with the memory that the model takes, whatever this process has done before.
    release_memory(inputs.device)
    reset_peak_memory(inputs.device)
    world, curves = inputs.world, folder / "metrics.jsonl"
    step, checkpoints = Step(stage, model, inputs), Checkpoints(folder / "checkpoints", world)

    # Resume from the newest sound checkpoint, if there is one, and drop the points that were logged after it.
    saved = checkpoints.newest()
    start, resumed, made_with, codes = 0, 0, [], []
    if saved is not None:
        step.restore(saved)
        start, resumed = saved["step"], saved["resumed"] + 1
        made_with, codes = saved.get("made_with", []), saved.get("codes", [{}])
    if codes[-1:] != [inputs.code]:
        codes = [*codes, inputs.code]
    if made_with[-1:] != [inputs.code_version]:
        made_with = [*made_with, inputs.code_version]
        if len(made_with) > 1 and world.rank == 0:
            log.warning("%s was trained with %s so far, and goes on with %s.", folder, *made_with[-2:])
    world.on_main(lambda: _drop_points_after(curves, start))
    meter, saved_at = Meter(inputs.device, world, saved), time.monotonic()
    every = -(-step.steps // POINTS)  # rounded up, so that there are at most POINTS points

    # A stage that begins from trained weights may fall from their accuracy.
    monitors = Monitors(stage, inputs, step.steps, every, saved.get("accuracies", []) if saved else [])
    if saved is None and inputs.trained:
        monitors.measure(step.result())

    with defer_signals() as signals, checkpoints:
        for number, batch in step.batches(start):
            # Take one optimiser step.
            figures = step(number, batch)
            done = number + 1

            # Log a point of the curves, now and then with what the monitors measure.
            if done % every == 0 or done == step.steps:
                with section("logging"):
                    if done in monitors.moments:
                        figures |= monitors.measure(step.result())
                    point = {"step": done, "images": done * stage.training.batch, "seconds": round(meter.seconds, 2)}
                    if world.rank == 0:
                        append_line(curves, point | figures)
                if done in monitors.moments:
                    monitors.check()

            # Save if it is time or a signal asks for it; all processes agree before any of them does.
            asked, signals.save = signals.save, False
            due = asked or time.monotonic() - saved_at > checkpoint_seconds
            save, leave = world.any(due, signals.leave)
            save = save or leave  # to leave is to save first
            if save:
                spent = {"seconds": meter.seconds, "joules": meter.joules(), "cpu_joules": meter.cpu_joules()}
                content = {"step": done, "resumed": resumed, "made_with": made_with, "codes": codes, **spent}
                content |= {"parent": inputs.parent, "accuracies": list(monitors.accuracies)}
                checkpoints.begin(done, step.content() | content)
                saved_at = time.monotonic()

            meter.note()
            watch(Progress(done, step.steps, figures, save, step.result(), step.state))

            # Leave if a signal said so; no rank leaves before rank 0 has written the checkpoint.
            if leave:
                world.on_main(checkpoints.wait)
                raise Leave

        # Write the result. The cost comes last, because its file marks the stage as done.
        checkpoints.wait()
        weights, state = step.result().state_dict(), step.whole_state()
        if not all(bool(w.isfinite().all()) for w in weights.values()):
            raise Diverged(f"weights are not finite after the last of {step.steps} steps")
        images, seconds = step.steps * stage.training.batch, meter.seconds
        joules, cpu_joules = meter.joules(), meter.cpu_joules()
        cost = {
            "steps": step.steps,
            "images": images,
            "seconds": round(seconds, 2),
            "images_per_second": round(images / seconds, 2),
            "peak_memory_mb": peak_memory_mb(inputs.device),
            "resumed": resumed,
            "skipped": len(step.all_skipped()),
            "processes": world.size,
            "accumulate": inputs.accumulate,
            "statistics": step.statistics,
            "made_with": made_with,
            "joules": joules and round(joules, 1),
            "cpu_joules": cpu_joules and round(cpu_joules, 1),
        }

        def write() -> None:
            digests = {
                "weights": save_tensors(folder / "weights.safetensors", weights),
                "state": save_tensors(folder / "state.safetensors", state),
            }
            write_checked(folder / "done.json", {**cost, **digests, "codes": codes, "parent": inputs.parent})
            checkpoints.remove()

        world.on_main(write)


def _drop_points_after(curves: Path, step: int) -> None:
    lines = [line for line in read_lines(curves) if line["step"] <= step]
    write_text(curves, "".join(json.dumps(line) + "\n" for line in lines))
