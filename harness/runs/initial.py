"""The weights that a run begins from: drawn by its seed, or read from the checkpoint that `init` names."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.errors import UserError

if TYPE_CHECKING:  # so that runs can be named without torch
    from harness.core.dataset import Dataset
    from harness.core.energy import EnergyModel

SEEN = 1000
"""Validation images that tell whether initial weights and net belong together."""


def digest(path: str) -> str:
    """The sha256 of an initial checkpoint, which is its part in a run's identity; UserError if it is not there."""
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"init={path}: there is no such file ({file.absolute()}). Put the checkpoint there, name another with "
            "init=PATH, or train every stage here with init=null. docs/checkpoints.md says where the published "
            "ones are."
        )
    return _digest(file.absolute(), file.stat().st_mtime_ns)


@lru_cache
def _digest(file: Path, _changed: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fill(model: "EnergyModel", path: str, expected: str) -> None:
    """Load a checkpoint of any known format into the net, strictly; UserError where it does not fit.

    `expected` is the digest that the run was frozen with: another content under the same name is refused.
    """
    from harness.training import weights

    if digest(path) != expected:
        raise UserError(f"init={path} has changed since this run was begun: put the old file back, or begin a new run.")
    weights.fit(weights.read(Path(path)), model.net, Path(path))


def check_accuracy(model: "EnergyModel", data: "Dataset", path: str, least: float | None) -> None:
    """UserError if the clean accuracy on validation images is below `least`, in %.

    Where none are held out, training images are looked at. It is the only check that finds a wrong standardisation,
    which keys and shapes do not show. Without a bound given it must reach 20 %, and three times chance.
    """
    import torch

    from harness.core.dataset import gather

    split = "validation" if data.length("validation") else "train"
    count = data.length(split)
    indices = range(0, count, max(1, count // SEEN))
    view, right = data.view(split, "plain"), 0
    device = next(model.parameters()).device
    for first in range(0, len(indices), 100):
        images, labels = gather(view, [(index, 0) for index in indices[first : first + 100]])
        with torch.no_grad():
            right += int((model.eval()(images.to(device)).argmax(1).cpu() == labels).sum())
    found, bound = 100 * right / len(indices), max(20, 300 / len(data.classes)) if least is None else least
    if found < bound:
        raise UserError(
            f"init={path}: the weights fit the net, yet of {len(indices)} {split} images only {found:.1f} % are "
            f"classified rightly, where at least {bound:.0f} % are expected. Usual causes: pixels are standardised "
            "otherwise than in training (model.mean, model.std), another order of classes, or untrained weights. "
            "If all is as it should be, say init_accuracy=0."
        )
