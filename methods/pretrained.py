"""Pretrained: the weights of any classifier, evaluated as they are."""

from collections.abc import Collection

from harness.core.method import Ability, Method
from harness.core.settings import later, settings
from harness.core.walk import Walk


@settings
class Pretrained(Method):
    """No training: evaluate the weights that `init` names, and sample them by the generative walk.

    only: classify, for a classifier that is not sampled; null for both.
    """

    sampler: Walk
    only: Ability | None = later(default=None)

    def __post_init__(self) -> None:
        if self.only == "generate":
            raise ValueError("only=generate would judge no logits of a classifier; method=samples judges samples alone")

    @property
    def gives(self) -> Collection[Ability]:
        """Both, or `only` one."""
        return [self.only] if self.only else super().gives
