"""Storage of replay-buffer images: float32 as they are, or uint8 cut to [0, 1], in a quarter of the memory."""

from typing import Literal

import torch
from torch import Tensor

LARGEST_BUFFER = 10_000_000
"""The most images of a replay buffer, a thousand times as many as the published ones."""

Stored = Literal["float32", "uint8"]


def to_stored(images: Tensor, stored: Stored) -> Tensor:
    """Convert images to the form in which a buffer stores them; uint8 rounds to the nearest of 256 values."""
    return images if stored == "float32" else (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_images(rows: Tensor) -> Tensor:
    """Convert rows of a buffer to float images for the network; rows stored as uint8 are in [0, 1]."""
    return rows if rows.is_floating_point() else rows / 255
