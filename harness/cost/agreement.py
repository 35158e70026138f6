"""Agreement of the direction of a walk's step with its direction in fp32."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.core.device import Precision, computing
from harness.core.energy import EnergyModel
from harness.core.walk import Objective, slope


def agreement(model: EnergyModel, x: Tensor, objective: Objective, precision: Precision) -> tuple[float, float]:
    """Return the mean and the lowest cosine, over images, between ∇_x of the objective in a precision and in fp32."""
    cosines = cosine_similarity(_direction(model, x, objective, "fp32"), _direction(model, x, objective, precision))
    return float(cosines.mean()), float(cosines.min())


def _direction(model: EnergyModel, x: Tensor, objective: Objective, precision: Precision) -> Tensor:
    with computing(precision, x.device):
        gradient, _ = slope(model, x, objective)
    return gradient.flatten(1).double()
