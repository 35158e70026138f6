"""How a replay buffer keeps images: as they were walked, or in 8 bits, cut to [0, 1], in a quarter of the memory."""

from typing import Literal

import torch
from torch import Tensor

Stored = Literal["float32", "uint8"]


def to_stored(images: Tensor, stored: Stored) -> Tensor:
    """Images as a buffer keeps them; 8 bits are the nearest of 256 values."""
    return images if stored == "float32" else (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_images(rows: Tensor) -> Tensor:
    """Rows of a buffer as images that a net can see, in [0, 1] where they were cut to it."""
    return rows if rows.is_floating_point() else rows / 255
