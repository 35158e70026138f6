"""Counterfactuals: what a model would change in an image to see another class in it (RATIO, arXiv 2003.09461; DAT)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.walk import Walk, joint_logit, walk

REACH = 2.5
"""The length of all steps together, in radii: enough to meet the border of the ball and to go on along it."""

STEPS = 50
"""Where nothing else is said."""


@dataclass(frozen=True)
class Explanation:
    """Counterfactuals, N x C x H x W in [0, 1], and what the model says of them, N each.

    before, after: the probability of the target class, of the given images and of these. predicted: the likeliest
    class of these. distance: L2, from the given images.
    """

    images: Tensor
    before: Tensor
    after: Tensor
    predicted: Tensor
    distance: Tensor


def towards(eps: float, steps: int) -> Walk:
    """The walk: unit steps up the joint logit, in the L2 ball of radius eps; ValueError for what is no walk."""
    if not (eps > 0 and steps >= 1):
        raise ValueError(f"the radius must be above 0 and steps 1 or more, not {eps:g} and {steps}")
    return Walk(steps=steps, step=REACH * eps / steps, eps=eps)


def counterfactuals(model: EnergyModel, images: Tensor, target: Tensor, eps: float, steps: int) -> Explanation:
    """Images walked towards the classes `target`, N, at most eps away in L2."""
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
