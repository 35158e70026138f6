"""Pretrained: any classifier's weights, judged as they are."""

from harness.core.method import Method
from harness.core.settings import settings
from harness.core.walk import Walk


@settings
class Pretrained(Method):
    """Trains nothing: the weights that `init` names are evaluated, and sampled by the generative walk."""

    sampler: Walk
