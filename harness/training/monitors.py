"""What curves show of every method beside its losses, measured now and then on the same few images."""

from dataclasses import fields, is_dataclass
from math import ceil, isfinite, sqrt

import torch
from torch import Tensor

from harness.core.dataset import BadImage, Dataset, Split, gather
from harness.core.device import computing
from harness.core.energy import EnergyModel
from harness.core.errors import Collapsed, UserError
from harness.core.method import Stage
from harness.core.walk import Walk, cross_entropy, frozen, marginal_score, slope, walk
from harness.training.batches import StageInputs

FEW, MANY = 32, 256
"""Number of images for the gradient and the gap, and for the accuracy, at most."""

ATTACK = Walk(steps=3, step=4 / 255, eps=8 / 255, norm="linf")
"""The attack behind the energy gap: the same for all methods and datasets, so that their curves compare."""

SHARE, FEWEST, MOST = 0.01, 5, 20
"""Maximum share of a stage's passes; the fewest measurements, even if they take more than that, and the most."""

PASSES = FEW * (ATTACK.steps + 2) + MANY // 3
"""Passes of a measurement; one that is only forward counts as a third."""

SIGMAS = 3
"""An accuracy is above chance if it exceeds it by more than this many standard errors."""


class Monitors:
    """Measures a stage's model on validation images, or on training images if none are held out.

    score_gradient: mean ‖∇ₓ s(x)‖² of clean images, s(x) = logsumexp_y f_y(x) = −E(x), which adversarial training
    bounds without a penalty (DAT, Figure 2). energy_gap: mean E(x') − E(x) of adversarial images x' and clean ones x.
    validation_accuracy: of clean images, from 0 to 1.

    moments: the steps after which to measure, at about equal distances, among those after which a point is logged
    (every `every` steps, and the last). They follow from the stage's config alone, and nothing is random: a resumed
    stage is measured as one that was never interrupted. accuracies: those measured so far.
    """

    def __init__(self, stage: Stage, inputs: StageInputs, steps: int, every: int, accuracies: list[float]) -> None:
        self.stage, self.inputs, self.accuracies = stage, inputs, accuracies
        passes = steps * stage.training.batch * (1 + _walk_steps(stage))
        number = min(MOST, max(FEWEST, int(SHARE * passes / PASSES)))
        self.moments = {min(steps, ceil(k * steps / number / every) * every) for k in range(1, number + 1)}
        # Rank 0 measures, in pieces that are no larger than those of training.
        self.piece = max(1, stage.training.batch // (inputs.world.size * inputs.accumulate))
        self.images, self.labels = _held_out(inputs.data) if inputs.world.rank == 0 else (torch.empty(0),) * 2

    def measure(self, model: EnergyModel) -> dict[str, float]:
        """Measure the model and keep its accuracy; return the figures that are finite. Collective."""
        figures = self.inputs.world.on_main(lambda: self._figures(model))
        self.accuracies.append(figures["validation_accuracy"])
        return {name: value for name, value in figures.items() if isfinite(value)}

    def check(self) -> None:
        """Raise Collapsed if the last `collapse` accuracies are at chance, and one before them was above it.

        With K classes and n images, accuracies of at most 1/K + 3 sqrt( 1/K (1 − 1/K) / n ) are at chance. A stage that
        does not learn from labels never collapses, nor does one with `collapse: null`.
        """
        last, chance = self.stage.training.collapse, 1 / len(self.inputs.data.classes)
        if last is None or len(self.accuracies) <= last or "labelled" not in self.stage.streams:
            return
        n = min(MANY, self.inputs.data.length(_split(self.inputs.data)))
        bound, before = chance + SIGMAS * sqrt(chance * (1 - chance) / n), max(self.accuracies[:-last])
        if max(self.accuracies[-last:]) <= bound < before:
            raise Collapsed(
                f"validation accuracy fell from {100 * before:.1f} % to chance (at most {100 * bound:.1f} % of {n} "
                f"images), and stayed there in {last} measurements"
            )

    def _figures(self, model: EnergyModel) -> dict[str, float]:
        device, every = self.inputs.device, max(1, len(self.labels) // FEW)
        gradients: list[Tensor] = []
        gaps: list[Tensor] = []
        right: list[Tensor] = []
        with frozen(model), computing("fp32", device):
            # The gradient of the score and the gap on a few of the images, evenly spaced.
            for x, y in self._pieces(self.images[::every][:FEW], self.labels[::every][:FEW]):
                gradient, score = slope(model, x, marginal_score)
                gradients.append(gradient.flatten(1).square().sum(1))
                with torch.no_grad():
                    gaps.append(model.energy(walk(model, x, cross_entropy(y), ATTACK)) + score)
            # The accuracy on all of them.
            for x, y in self._pieces(self.images, self.labels):
                with torch.no_grad():
                    right.append(model(x).argmax(1) == y)
        values = {"score_gradient": gradients, "energy_gap": gaps, "validation_accuracy": right}
        return {name: float(torch.cat(parts).double().mean()) for name, parts in values.items()}

    def _pieces(self, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        device = self.inputs.device
        pieces = zip(images.split(self.piece), labels.split(self.piece), strict=True)
        return [(x.to(device), y.to(device)) for x, y in pieces]


def _walk_steps(part: object) -> int:
    """Number of steps of all walks in a stage's settings: passes that each image of a batch takes beside training."""
    if isinstance(part, Walk):
        return part.steps
    return sum(_walk_steps(getattr(part, entry.name)) for entry in fields(part)) if is_dataclass(part) else 0


def _split(data: Dataset) -> Split:
    return "validation" if data.length("validation") else "train"


def _held_out(data: Dataset) -> tuple[Tensor, Tensor]:
    """Evenly spaced images, not augmented, and their labels; those that cannot be read are left out."""
    view, length = data.view(_split(data), "plain"), data.length(_split(data))
    count, items = min(MANY, length), list[tuple[Tensor, Tensor]]()
    for place in range(count):
        try:
            items.append(gather(view, [(place * length // count, 0)]))
        except BadImage:  # training says what it does with such files
            continue
    if not items:
        raise UserError(f"Not one of {count} images of the {_split(data)} split can be read: mend the dataset's files.")
    images, labels = zip(*items, strict=True)
    return torch.cat(images), torch.cat(labels)
