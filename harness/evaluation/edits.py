"""Edits of images by a trained energy: each is the same walk, with another start, objective or set of free pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.core.walk import Normal, Objective, Walk, joint_logit, marginal_score, walk

SIDES = ("left", "right", "top", "bottom", "centre")
"""The parts of an image that `hidden` knows."""


def hidden(part: str, shape: Sequence[int]) -> Tensor:
    """A mask, 1 x 1 x H x W: true in one half of an image, or in its central quarter; ValueError for other parts."""
    height, width = shape[-2:]
    mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
    rows, columns = {
        "left": (slice(None), slice(0, width // 2)),
        "right": (slice(None), slice(width // 2, None)),
        "top": (slice(0, height // 2), slice(None)),
        "bottom": (slice(height // 2, None), slice(None)),
        "centre": (slice(height // 4, height - height // 4), slice(width // 4, width - width // 4)),
    }.get(part, (None, None))
    if rows is None or columns is None:
        raise ValueError(f"hide must be {', '.join(SIDES)}, not {part}")
    mask[:, :, rows, columns] = True
    return mask


def objective_of(labels: Tensor | None) -> Objective:
    """f_y(x) of the given classes, N; or s(x) = logsumexp_y f_y(x), of any class."""
    return marginal_score if labels is None else joint_logit(labels)


def inpaint(
    model: nn.Module,
    images: Tensor,
    mask: Tensor,
    starts: Tensor,
    objective: Objective,
    how: Walk,
    normal: Normal | None = None,
) -> Tensor:
    """Fill the masked pixels of images, from those of `starts`; the others stay as they are, to the last bit.

    The walk climbs x ↦ objective( f( m x + (1 − m) x₀ ) ), whose gradient is 0 wherever the mask m is.
    """
    filled = walk(_Partly(model, images, mask), torch.where(mask, starts, images), objective, how, normal=normal)
    return torch.where(mask, filled, images)


def combine(
    model: nn.Module, starts: Tensor, classes: Sequence[int], how: Walk, normal: Normal | None = None
) -> Tensor:
    """Draw images of several classes at once: up Σ_y f_y(x), the product of their densities exp f_y(x)."""
    wanted = list(classes)
    return walk(model, starts, lambda logits: logits[:, wanted].sum(1), how, normal=normal)


def between(
    model: nn.Module,
    first: Tensor,
    last: Tensor,
    count: int,
    objective: Objective,
    how: Walk,
    normal: Normal | None = None,
) -> Tensor:
    """Images on the way from one, C x H x W, to another: `count` mixtures of their pixels, walked up the objective.

    The first and the last are the images themselves, not walked.
    """
    parts = torch.linspace(0, 1, count).view(-1, 1, 1, 1).to(first)
    mixed = (1 - parts) * first + parts * last
    walked = walk(model, mixed, objective, how, normal=normal)
    return torch.cat([mixed[:1], walked[1:-1], mixed[-1:]])


class _Partly(nn.Module):
    """A model that sees only the masked pixels of its input, and those of given images elsewhere."""

    def __init__(self, model: nn.Module, images: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.model, self.images, self.mask = model, images, mask

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the mixed images."""
        return self.model(torch.where(self.mask, x, self.images))
