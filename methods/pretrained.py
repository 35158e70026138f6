"""Pretrained: any classifier's weights, judged as they are."""

from harness.method import Method, Stage
from harness.pgd import Walk
from harness.settings import settings


@settings
class Pretrained(Method):
    """Trains nothing: the weights that `init` names are evaluated, and sampled by the generative walk."""

    sampler: Walk

    @property
    def stages(self) -> dict[str, Stage]:
        """None."""
        return {}
