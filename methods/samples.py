"""Samples: the images of an outside generator, judged as they are."""

from collections.abc import Collection
from typing import Any, ClassVar

from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.method import Ability, Method, State
from harness.core.random import PerImage
from harness.core.settings import settings
from harness.core.walk import Walk


@settings
class Samples(Method):
    """No training and no net: the images of a file or folder take the place of samples.

    source: where they are (harness.datasets.outliers.given says what it may hold). digest: of the images and labels; a
    run notes it itself.
    """

    has_net: ClassVar[bool] = False
    sampler: Walk
    source: str | None = None
    digest: str | None = None

    @property
    def gives(self) -> Collection[Ability]:
        """Samples alone."""
        return ("generate",)

    @property
    def outliers(self) -> dict[str, Any]:
        """The images of the source."""
        return {"name": "given", "source": self.source, "digest": self.digest}

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """The images as they are."""
        return starts
