"""Counterfactuals: how a model would change an image to see another class in it (RATIO, arXiv 2003.09461; DAT)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.walk import Walk, joint_logit, walk

REACH = 2.5
"""Total length of all steps, in radii: enough to reach the border of the ball and continue along it."""

STEPS = 50
"""The default number of steps."""


@dataclass(frozen=True)
class Explanation:
    """Counterfactuals, N x C x H x W in [0, 1], and the model's predictions for them, N each.

    before, after: the target class's probability for the given images and for the counterfactuals. predicted: the most
    likely class of the counterfactuals. distance: L2 distance from the given images.
    """

    images: Tensor
    before: Tensor
    after: Tensor
    predicted: Tensor
    distance: Tensor


def towards(eps: float, steps: int) -> Walk:
    """The walk: unit steps up the joint logit, in the L2 ball of radius eps; ValueError for an invalid walk."""
    if not (eps > 0 and steps >= 1):
        raise ValueError(f"the radius must be above 0 and steps 1 or more, not {eps:g} and {steps}")
    return Walk(steps=steps, step=REACH * eps / steps, eps=eps)


def counterfactuals(model: EnergyModel, images: Tensor, target: Tensor, eps: float, steps: int) -> Explanation:
    """Walk images towards the classes `target`, N, by at most eps in L2."""
    walked = walk(model, images, joint_logit(target), towards(eps, steps))
    with torch.no_grad():
        before, after = model(images).softmax(1), model(walked).softmax(1)
    of_target = target[:, None]
    return Explanation(
        images=walked,
        before=before.gather(1, of_target)[:, 0],
        after=after.gather(1, of_target)[:, 0],
        predicted=after.argmax(1),
        distance=(walked - images).flatten(1).norm(dim=1),
    )
