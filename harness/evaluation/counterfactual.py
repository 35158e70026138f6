"""Counterfactuals: how a model would change an image to see another class in it (RATIO, arXiv 2003.09461; DAT)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.core.energy import EnergyModel
from harness.core.walk import Norm, Walk, joint_logit, walk

Ball = Literal["L1", "L1.5", "L2"]
"""The balls that a counterfactual may stay in; the smaller the norm, the fewer pixels change (SVCE, Boreiko et al.)."""

NORMS: dict[Ball, Norm] = {"L1": "l1", "L1.5": "l1.5", "L2": "l2"}
"""The norm of each ball, as walks name it."""

REACH = 2.5
"""Total length of all steps, in radii: enough to reach the border of the ball and continue along it."""

STEPS = 50
"""The default number of steps."""


@dataclass(frozen=True)
class Explanation:
    """Counterfactuals, N x C x H x W in [0, 1], and the model's predictions for them, N each.

    before, after: the target class's probability for the given images and for the counterfactuals. predicted: the most
    likely class of the counterfactuals. distance: from the given images, in the norm of the ball.
    """

    images: Tensor
    before: Tensor
    after: Tensor
    predicted: Tensor
    distance: Tensor


def towards(eps: float, steps: int, ball: Ball = "L2") -> Walk:
    """The walk: unit steps up the joint logit, in the ball of radius eps; ValueError for an invalid walk."""
    if not (eps > 0 and steps >= 1):
        raise ValueError(f"the radius must be above 0 and steps 1 or more, not {eps:g} and {steps}")
    return Walk(steps=steps, step=REACH * eps / steps, eps=eps, norm=NORMS[ball])


def counterfactuals(
    model: EnergyModel, images: Tensor, target: Tensor, eps: float, steps: int, ball: Ball = "L2"
) -> Explanation:
    """Walk images towards the classes `target`, N, by at most eps in the norm of the ball."""
    walked = walk(model, images, joint_logit(target), towards(eps, steps, ball))
    with torch.no_grad():
        before, after = model(images).softmax(1), model(walked).softmax(1)
    of_target = target[:, None]
    return Explanation(
        images=walked,
        before=before.gather(1, of_target)[:, 0],
        after=after.gather(1, of_target)[:, 0],
        predicted=after.argmax(1),
        distance=(walked - images).flatten(1).norm(p=float(ball[1:]), dim=1),
    )
