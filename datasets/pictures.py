"""Find and open image files."""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from harness.core.dataset import BadImage


def open_rgb(path: Path) -> Image.Image:
    """Open and fully decode an image file, and convert it to RGB from grey, CMYK or palette; BadImage if that fails."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except Exception as error:  # decoders raise almost any exception on damaged files
        raise BadImage(path, error) from error


def named_as_image(name: str) -> bool:
    """Whether a file's name has an image extension."""
    return name.lower().endswith(IMG_EXTENSIONS)


def images_below(root: Path) -> Iterator[str]:
    """Yield the image files in a folder and below it, as relative paths with "/", unordered."""
    for folder, _, names in os.walk(root, followlinks=True):
        inside = Path(folder).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        yield from (prefix + name for name in names if named_as_image(name))
