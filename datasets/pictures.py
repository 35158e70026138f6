"""Image files: which there are, and how one is opened."""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from harness.core.dataset import BadImage


def open_rgb(path: Path) -> Image.Image:
    """A picture in RGB, decoded whole, whatever it is stored as (grey, CMYK, palette); BadImage if that fails."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # decoders of damaged files raise almost anything
        raise BadImage(path, error) from error


def named_as_image(name: str) -> bool:
    """Whether a file's name ends as an image's does."""
    return name.lower().endswith(IMG_EXTENSIONS)


def images_below(root: Path) -> Iterator[str]:
    """The image files in a folder and all below it, as paths relative to it with "/", in no order."""
    for folder, _, names in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        yield from (prefix + name for name in names if named_as_image(name))
