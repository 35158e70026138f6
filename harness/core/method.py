"""What a method is: stages to train, each with a loss, and a way to sample."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import ClassVar, Literal

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.energy import EnergyModel
from harness.core.optim import Training
from harness.core.random import PerImage
from harness.core.shard import Shard
from harness.core.walk import Walk, joint_logit, walk

Stream = Literal["labelled", "real", "outliers"]
"""labelled: (images, labels), strongly augmented. real: the same, mildly, drawn independently. outliers: images."""


@dataclass
class Batch:
    """A step's images and labels, or a process's part of them, of each stream that its stage asks for.

    Labels of outliers are −1.
    """

    images: dict[Stream, Tensor]
    labels: dict[Stream, Tensor]


@dataclass
class Loss:
    """The named terms of a loss, whose sum is minimised, and figures to watch beside them; all are means over images.

    per_image: one value per image; `Stage.update_state` gets those of the whole batch.
    recompute: gives the same terms of the same images at the present weights, with nothing drawn or walked anew; a
    stage that has it can be trained with sharpness-aware minimisation.
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
"""What a stage remembers from step to step (a replay buffer, a curriculum); changed in place, saved with it."""


class Stage(ABC):
    """One unit of training. A subclass is a frozen dataclass; its fields are its whole config."""

    streams: ClassVar[tuple[Stream, ...]]
    sharded: ClassVar[tuple[str, ...]] = ()
    """The replay buffers in the state: their rows are dealt out to the processes of a run, and taken through Share."""
    training: Training

    @property
    def needs_double_backward(self) -> bool:
        """Whether the loss holds gradients, which learning then takes the gradient of."""
        return False

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The state at step 0."""
        return {}

    def constants(self, data: Dataset) -> State:
        """What losses need of the data as a whole; computed before training and after a resume, and never saved."""
        return {}

    @abstractmethod
    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The loss of a step, or of a part of its images; `shard` draws by the step alone.

        `state` also holds the constants. Nothing in it is changed here but a replay buffer, through `shard`.
        """

    def update_state(self, state: State, per_image: dict[str, Tensor]) -> dict[str, float]:
        """Change the state by what the loss saw in all images of a step, as doubles on the CPU; figures to watch."""
        return {}

    def at_full_length(self, state: State) -> State:
        """The state where a step costs most, for whoever asks the price of training; by default any is as good."""
        return state


class Method(ABC):
    """A method. A subclass is a frozen dataclass; its fields are those of configs/method/<name>.yaml."""

    sampler: Walk

    @property
    def stages(self) -> dict[str, Stage]:
        """The stages in the order of training, by name: by default the fields that are stages, None left out."""
        values = {part.name: getattr(self, part.name) for part in fields(self)}  # pyright: ignore[reportArgumentType]
        return {name: value for name, value in values.items() if isinstance(value, Stage)}

    def skip(self, data: Dataset) -> str | None:
        """The reason why this method cannot run on a dataset; None where it can."""
        return None

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """Images of the wanted labels; each depends on its own start, label and generator only.

        Values beyond [0, 1] are cut off by the caller. `state` is that of the last stage.
        By default the generative walk of DAT: ascent on the joint logit f_y from outlier images.
        """
        normal = rng.normal if self.sampler.noise else None
        return walk(model, starts, joint_logit(labels), self.sampler, normal=normal)
