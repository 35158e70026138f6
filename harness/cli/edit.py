"""Edit images with a trained run's energy: inpaint, denoise, translate, interpolate, combine classes."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from harness.cli.explain import pictures
from harness.cli.request import Request
from harness.cli.sample import show
from harness.core.errors import UserError, first_line
from harness.core.files import atomic_write
from harness.core.random import PerImage, derive
from harness.core.settings import settings
from harness.core.walk import Walk, joint_logit, walk
from harness.evaluation import edits
from harness.evaluation.pictures import Cell, short, table
from harness.evaluation.samples import eight_bits
from harness.runs.build import outliers
from harness.runs.reopen import UNSAID
from harness.runs.trained import Trained

EXAMPLE = "run=atjem-digits-s0-c1a31312 by=inpaint hide=left"
PARTS = UNSAID

WAY = 7
"""Number of images on the way between two, with both."""


@settings
class Arguments:
    """Edit the first n images of a folder, or of the test split, with walks of the run's sampler.

    by: inpaint fills a hidden part. denoise adds Gaussian noise and walks back within its expected length. translate
    turns images into the first of `classes`. interpolate shows images between neighbours. combine draws images that
    belong to all `classes` at once.
    hide: left, right, top, bottom, centre, or a picture of the images' size whose white pixels are hidden.
    noise: standard deviation of the noise. classes: classes to walk towards (default: any). steps: number of steps of
    the walk (default: as in the run's sampler). out: the folder for the files.
    """

    run: str
    by: Literal["inpaint", "denoise", "translate", "interpolate", "combine"]
    images: str = "test"
    n: int = 8
    classes: tuple[str, ...] = ()
    hide: str = "left"
    noise: float = 0.2
    seed: int = 0
    steps: int | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.noise <= 0 or (self.steps is not None and self.steps < 1):
            raise ValueError("n and steps must be 1 or more, and noise above 0")
        if self.by in ("translate", "combine") and not self.classes:
            raise ValueError(f"by={self.by} needs classes to walk towards, such as classes=3,5")
        if self.by == "interpolate" and self.n < 2:
            raise ValueError("by=interpolate needs two images or more")


def run(request: Request) -> None:
    """Write the edited images."""
    show(request, write)


def write(model: Trained, asked: Arguments, folder: Path) -> list[str]:
    """Write edit.png and edit.npz (arr_0, N x H x W x C in uint8); return the lines to print."""
    names, device = [short(name) for name in model.run.data.classes], model.mean.device
    classes = [model.label(word) for word in asked.classes]
    how = model.sampler(asked.steps).sampler
    if not how.steps:
        raise UserError(f"{model.run.name} samples without a walk, but editing needs one: set steps=20.")
    images, _, lines = pictures(asked.images, asked.n, model.run.data)
    images = images.to(device)

    # Edit the images; each row shows what was given, and what became of it.
    shown, edited = EDITS[asked.by](model, images, classes, how, asked)
    with torch.no_grad():
        confidences, predictions = (values.tolist() for values in model(edited).softmax(1).max(1))
    captions = [f"{names[label]}: {100 * p:.0f} %" for label, p in zip(predictions, confidences, strict=True)]
    cells = [Cell(image.cpu(), caption) for image, caption in zip(edited, captions, strict=True)]
    if asked.by == "interpolate":
        rows = [cells[first : first + WAY] for first in range(0, len(cells), WAY)]
    else:
        parts = zip(*(part.cpu() for part in shown.values()), strict=True)
        rows = [[*map(Cell, row, shown), cell] for row, cell in zip(parts, cells, strict=True)]

    picture, arrays = folder / "edit.png", folder / "edit.npz"
    table(picture, rows)
    with atomic_write(arrays) as temporary:
        np.savez(temporary, arr_0=eight_bits(edited.cpu().clamp(0, 1)).permute(0, 2, 3, 1).numpy())
    return [*lines, f"Written: {picture}", f"Written: {arrays}"]


Edited = tuple[dict[str, Tensor], Tensor]
"""What a picture shows beside the edited images, by its caption; and the edited images, N x C x H x W."""


def _inpaint(model: Trained, images: Tensor, classes: list[int], how: Walk, asked: Arguments) -> Edited:
    mask = _mask(asked.hide, images).to(images.device)
    objective, starts = edits.objective_of(_labels(classes, images)), _starts(model, images)
    filled = edits.inpaint(model, images, mask, starts, objective, how, _normal(asked, len(images)))
    return {"image": images, "hidden": torch.where(mask, 0.5, images)}, filled


def _denoise(model: Trained, images: Tensor, classes: list[int], how: Walk, asked: Arguments) -> Edited:
    noise = PerImage([derive(asked.seed, "noise", i) for i in range(len(images))]).normal(images)
    noisy = (images + asked.noise * noise).clamp(0, 1)
    # Noise of this standard deviation has about this length.
    within = replace(how, norm="l2", eps=asked.noise * images[0].numel() ** 0.5)
    walked = walk(
        model, noisy, edits.objective_of(_labels(classes, images)), within, normal=_normal(asked, len(images))
    )
    return {"image": images, "noisy": noisy}, walked


def _translate(model: Trained, images: Tensor, classes: list[int], how: Walk, asked: Arguments) -> Edited:
    wanted = torch.full((len(images),), classes[0], device=images.device)
    return {"image": images}, walk(model, images, joint_logit(wanted), how, normal=_normal(asked, len(images)))


def _interpolate(model: Trained, images: Tensor, classes: list[int], how: Walk, asked: Arguments) -> Edited:
    objective, ways = edits.objective_of(_labels(classes, images[:1].expand(WAY, -1, -1, -1))), list[Tensor]()
    for first, last in pairwise(images):
        ways.append(edits.between(model, first, last, WAY, objective, how, _normal(asked, WAY)))
    return {}, torch.cat(ways)


def _combine(model: Trained, images: Tensor, classes: list[int], how: Walk, asked: Arguments) -> Edited:
    starts = _starts(model, images)
    return {"start": starts}, edits.combine(model, starts, classes, how, _normal(asked, len(images)))


EDITS: dict[str, Callable[[Trained, Tensor, list[int], Walk, Arguments], Edited]] = {
    "inpaint": _inpaint,
    "denoise": _denoise,
    "translate": _translate,
    "interpolate": _interpolate,
    "combine": _combine,
}


def _labels(classes: list[int], images: Tensor) -> Tensor | None:
    """The given classes in turn, N; None if none are given."""
    if not classes:
        return None
    return torch.tensor([classes[i % len(classes)] for i in range(len(images))], device=images.device)


def _starts(model: Trained, images: Tensor) -> Tensor:
    """The starts of the run's samples, as many as there are images."""
    source = outliers(model.run)
    source.ready()
    return source.starts(range(len(images))).to(images.device)


def _normal(asked: Arguments, n: int) -> Callable[[Tensor], Tensor]:
    """The noise of a walk, each image's from its own seed."""
    return PerImage([derive(asked.seed, "edit", i) for i in range(n)]).normal


def _mask(word: str, images: Tensor) -> Tensor:
    """The hidden pixels: a named part, or the white ones of a picture; UserError if it is neither."""
    if word in edits.SIDES:
        return edits.hidden(word, images.shape)
    try:
        with Image.open(word) as picture:
            mask = torch.from_numpy(np.array(picture.convert("L"))) > 127
    except (OSError, ValueError) as error:
        raise UserError(
            f"hide={word} is neither one of {', '.join(edits.SIDES)} nor a readable picture ({first_line(error)})."
        ) from None
    if mask.shape != images.shape[-2:] or mask.all() or not mask.any():
        height, width = images.shape[-2:]
        raise UserError(f"hide={word}: the mask must have {width}x{height} pixels, some white and some not.")
    return mask[None, None]
