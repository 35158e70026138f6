"""The interface of a method: stages to train, each with a loss, and a way to sample."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.energy import EnergyModel
from harness.core.optim import Training
from harness.core.random import PerImage
from harness.core.shard import Shard
from harness.core.walk import Walk, joint_logit, walk

Stream = Literal["labelled", "real", "outliers"]
"""labelled: (images, labels), strongly augmented. real: the same, mildly augmented, drawn independently. outliers:
images."""


Ability = Literal["classify", "generate", "condition"]
"""What a method's models can do: give logits, which are classified by and attacked; draw samples; draw samples of a
given class."""


@dataclass
class Batch:
    """A step's images and labels, or one rank's part of them, for each stream that its stage uses.

    Labels of outliers are −1.
    """

    images: dict[Stream, Tensor]
    labels: dict[Stream, Tensor]


@dataclass
class Loss:
    """The named terms of a loss, whose sum is minimised, and figures to monitor; all are means over images.

    per_image: one value per image; `Stage.update_state` receives those of the whole batch.
    recompute: returns the same terms for the same images at the current weights, without new draws or walks, for a
    second pass at perturbed weights. By default the stage's loss is called again: its generator then draws the same,
    and walks return what they returned before.
    """

    terms: dict[str, Tensor]
    monitors: dict[str, float | Tensor] = field(default_factory=dict)
    recompute: Callable[[], dict[str, Tensor]] | None = None
    per_image: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()


State = dict[str, Tensor]
"""What a stage carries from step to step (a replay buffer, a curriculum); changed in place and saved with it."""


class Stage(ABC):
    """One unit of training. A subclass is a frozen dataclass; its fields are its complete config."""

    streams: ClassVar[tuple[Stream, ...]]
    sharded: ClassVar[tuple[str, ...]] = ()
    """Names of the replay buffers in the state: their rows are split over the ranks and accessed through Shard."""
    training: Training

    @property
    def needs_double_backward(self) -> bool:
        """Whether the loss contains gradients, so that training differentiates twice."""
        return False

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The state at step 0."""
        return {}

    def constants(self, data: Dataset) -> State:
        """What losses need of the data as a whole; computed before training and after a resume, never saved."""
        return {}

    @abstractmethod
    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The loss of a step, or of a part of its images; random draws through `shard` depend on the step alone.

        `state` also holds the constants. The loss must not change it, except a replay buffer through `shard`.
        """

    def update_state(self, state: State, per_image: dict[str, Tensor]) -> dict[str, float]:
        """Update the state by the per-image values of a whole step (float64, CPU); return figures to monitor."""
        return {}

    def at_full_length(self, state: State) -> State:
        """The state at which a step costs most, for cost estimates; by default all states cost the same."""
        return state


class Method(ABC):
    """A method. A subclass is a frozen dataclass; its fields are those of configs/method/<name>.yaml."""

    sampler: Walk
    has_net: ClassVar[bool] = True
    """Whether it has a net, which is trained or given; if not, it brings its samples."""

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages by name, in training order: by default all fields that are stages, without None."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}  # pyright: ignore[reportArgumentType]
        return {name: value for name, value in values.items() if isinstance(value, Stage)}

    @property
    def gives(self) -> Collection[Ability]:
        """What can be judged of the method; metrics of what it does not give are left out, and their cells say n/a.

        By default everything, but for `condition` where a method samples in its own way, which may ignore the labels:
        if it does not, it adds `condition` here.
        """
        own = type(self).sample is not Method.sample
        return ("classify", "generate") if own else ("classify", "generate", "condition")

    @property
    def outliers(self) -> dict[str, Any] | None:
        """The source that samples start at, as in a config, for a method that does not take the run's outliers."""
        return None

    def skip(self, data: Dataset) -> str | None:
        """The reason why this method cannot run on a dataset; None if it can."""
        return None

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """Draw images of the given labels; each depends on its own start, label and generator only.

        The caller clamps values to [0, 1]. `state` is that of the last stage.
        By default this is DAT's generative walk: ascent on the joint logit f_y from outlier images.
        """
        normal = rng.normal if self.sampler.noise else None
        return walk(model, starts, joint_logit(labels), self.sampler, normal=normal)
