"""Checks that every method must pass, run at a tiny size by the tests and by `python -m harness check`."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from harness.core.device import full_precision
from harness.core.method import Stage, State, Stream
from harness.evaluation.samples import draw
from harness.runs.build import initial, outliers, prepare, stage_inputs, untrained
from harness.runs.run import Run
from harness.training.checkpoint import copy_to_cpu
from harness.training.step import Step

BATCH, STEPS = 8, 4

Promise = Callable[[Run, torch.device], None]
"""Checks a run's method on a device; raises what is wrong."""


class Broken(Exception):
    """A method breaks a promise."""


def verdicts(run: Run) -> Iterator[tuple[str, str | None]]:
    """Yield each promise with None if the method keeps it on the run's device, or else with what is wrong."""
    reason = run.method.skip(run.data)
    if reason:
        yield f"It refuses this dataset and gives a reason: {reason}", None
        return
    device = prepare(run.config)
    for promise in PROMISES:
        yield str(promise.__doc__).rstrip("."), _problem(promise, run, device)


def _problem(promise: Promise, run: Run, device: torch.device) -> str | None:
    try:
        with full_precision():  # its algorithms are deterministic, which a comparison bit for bit needs on a GPU
            promise(run, device)
    except Exception as error:  # any error of a new method is the verdict
        return f"{type(error).__name__}: {error}"
    return None


def stages_are_sound(run: Run, device: torch.device) -> None:
    """If it has a net, it has stages, and each stage asks only for streams that exist."""
    if run.method.has_net and not run.method.stages and not run.init:
        raise Broken("`stages` is empty, and no init=PATH gives it weights")
    for name, stage in run.method.stages.items():
        if unknown := set(stage.streams) - set(get_args(Stream)):
            raise Broken(f"stage {name} needs {sorted(unknown)}; the streams are {', '.join(get_args(Stream))}")


def losses_are_sound(run: Run, device: torch.device) -> None:
    """The terms of each loss are finite scalars with gradients in the weights, and leave no gradients behind."""
    for name, step in _steps(run, device):
        step.model.train()
        loss = step.loss(*next(step.batches()))
        for term, value in loss.terms.items():
            if value.dim() or not value.isfinite():
                raise Broken(f"stage {name}: term {term} is {value}, not a finite scalar")
        if any(p.grad is not None or not p.requires_grad for p in step.model.parameters()):
            raise Broken(f"stage {name}: the loss left gradients on the weights, or left them frozen")
        torch.stack(list(loss.terms.values())).sum().backward()
        if all(p.grad is None or not p.grad.any() for p in step.model.parameters()):
            raise Broken(f"stage {name}: no gradient reaches the weights")


def training_resumes_exactly(run: Run, device: torch.device) -> None:
    """Interrupted training ends with the same weights and state as uninterrupted training, bit for bit."""
    for name, stage in run.method.stages.items():
        (whole, state), (broken, state_of_broken) = (
            _trained(run, name, stage, device, None),
            _trained(run, name, stage, device, STEPS // 2),
        )
        if differing := [key for key in whole if not torch.equal(whole[key], broken[key])]:
            raise Broken(f"stage {name}: {differing[0]} differs after a resume")
        if differing := [key for key in state if not torch.equal(state[key], state_of_broken[key])]:
            raise Broken(f"stage {name}: state {differing[0]} differs after a resume")


def samples_are_images(run: Run, device: torch.device) -> None:
    """Its samples are finite images of the data's shape."""
    images = _samples(run, device, 0, 4)
    if images.shape != (4, *run.data.shape):
        raise Broken(f"samples have shape {tuple(images.shape)}, not {(4, *run.data.shape)}")


def samples_depend_on_their_seed_alone(run: Run, device: torch.device) -> None:
    """A sample depends on its own seed, not on the other images in its batch."""
    together, apart = _samples(run, device, 0, 4), torch.cat([_samples(run, device, 0, 1), _samples(run, device, 1, 4)])
    if not torch.allclose(together, apart, atol=1e-4):
        raise Broken(f"samples differ by up to {(together - apart).abs().max():.3g} when made in other batches")


def batches_can_be_shared(run: Run, device: torch.device) -> None:
    """A batch split in two, as between processes, gives the gradients of the whole (normalisation is frozen)."""
    for name, stage in run.method.stages.items():
        whole, pieces = _gradients(run, name, stage, device, 1), _gradients(run, name, stage, device, 2)
        if not (whole - pieces).norm() <= 1e-3 * whole.norm():
            off = float((whole - pieces).norm() / whole.norm())
            raise Broken(f"stage {name}: the gradients of a batch split in two differ from the whole's by {off:.0%}")


PROMISES = (
    stages_are_sound,
    losses_are_sound,
    training_resumes_exactly,
    batches_can_be_shared,
    samples_are_images,
    samples_depend_on_their_seed_alone,
)


def _steps(run: Run, device: torch.device) -> Iterator[tuple[str, Step]]:
    for name, stage in run.method.stages.items():
        yield name, _step(run, name, stage, device)


def _step(run: Run, name: str, stage: Stage, device: torch.device, pieces: int = 1) -> Step:
    """The `Step` of a stage at the tiny size, with untrained weights."""
    epochs = STEPS * BATCH / run.data.length("train")
    tiny = replace(stage, training=replace(stage.training, batch=BATCH, epochs=epochs))  # pyright: ignore[reportArgumentType]
    inputs = replace(stage_inputs(run, name, tiny, device), key=(0, name), workers=0, accumulate=pieces, compile=False)
    return Step(tiny, untrained(run).to(device), replace(inputs, recompute=False))


def _trained(
    run: Run, name: str, stage: Stage, device: torch.device, interrupted_at: int | None
) -> tuple[dict[str, Tensor], State]:
    """Weights and state after STEPS steps; with `interrupted_at`, restored into a new Step before that step."""
    step = _step(run, name, stage, device)
    for number, batch in step.batches():
        if number == interrupted_at:
            saved = copy_to_cpu(step.content())
            step = _step(run, name, stage, device)
            step.restore(saved)
            break
        step(number, batch)
    if interrupted_at is not None:
        for number, batch in step.batches(interrupted_at):
            step(number, batch)
    return dict(step.result().state_dict()), dict(step.state)


def _gradients(run: Run, name: str, stage: Stage, device: torch.device, pieces: int) -> Tensor:
    """All gradients of the first step as one flat tensor, with the batch split into `pieces`."""
    step = _step(run, name, stage, device, pieces)
    step.model.freeze_norm = True
    step.model.train()
    number, batch = next(step.batches())
    losses = [step.loss(number, batch, piece) for piece in range(pieces)]
    torch.stack([loss.total for loss in losses]).mean().backward()
    return torch.cat([p.grad.flatten() for p in step.model.parameters() if p.grad is not None])


def _samples(run: Run, device: torch.device, first: int, last: int) -> Tensor:
    """Samples first … last − 1 of the model before training."""
    model, state = initial(run).to(device), {}
    for _, step in _steps(run, device):
        model, state = step.model, step.state
    classes = len(run.data.classes)
    return draw(run.method, model.eval(), state, outliers(run), classes, 0, range(first, last), device)
