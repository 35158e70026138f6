"""A validation split of training images, for datasets that come without one."""

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import UserError


def held_out(labels: Tensor, count: int, seed: int, setting: str = "") -> tuple[Tensor, Tensor]:
    """Split into (training, validation) indices, each ascending; stratified by class, determined by the seed alone.

    UserError, with the setting that asks for it, if the classes have too few images; by default `data.validation`.
    """
    everything = np.arange(len(labels))
    if count == 0:
        return torch.from_numpy(everything), torch.empty(0, dtype=torch.long)
    from sklearn.model_selection import train_test_split  # slow to import, and a plan of digits does not need it

    try:
        parts = train_test_split(everything, test_size=count, stratify=labels.numpy(), random_state=seed)
    except ValueError as error:
        asked = setting or f"data.validation={count}"
        raise UserError(f"{asked} cannot be held out of {len(labels):,} images: {error}") from None
    train, validation = (torch.from_numpy(np.sort(part)) for part in parts)
    return train, validation
