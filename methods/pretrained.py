"""Pretrained: the weights of any classifier, evaluated as they are."""

from harness.core.method import Method
from harness.core.settings import settings
from harness.core.walk import Walk


@settings
class Pretrained(Method):
    """No training: evaluate the weights that `init` names, and sample them by the generative walk."""

    sampler: Walk
