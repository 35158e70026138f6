"""Find and open image files."""

import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION
from torchvision.datasets.folder import IMG_EXTENSIONS

from harness.core.dataset import BadImage
from harness.core.errors import UserError

EIGHT_BITS = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
"""Pillow's modes of at most 8 bits per channel, without an alpha channel."""

ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
"""Pillow's modes with an alpha channel, all of 8 bits per channel."""

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of 16 bits, which are grey."""

SCALED_TO_16_BITS = ("PNG", "PPM")
"""Formats whose pictures of mode I have 16 bits: of PNG in older versions of Pillow, of PPM whatever its maximum is."""

NO_DATA = ("__MACOSX", "lost+found")
"""Names that systems give to folders of their own; so do names that begin with a dot."""


def open_rgb(path: Path) -> Image.Image:
    """Open and fully decode an image file, of several pictures the first, as `as_rgb` does; BadImage if that fails."""
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except Exception as error:  # decoders raise almost any exception on damaged files
        raise BadImage(path, error) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture of any mode to RGB, 8 bits per channel: on white where it is transparent, as it is stored.

    Values of more than 8 bits are scaled from the range of the file to 0 … 255 and rounded. The orientation in EXIF is
    not applied. ValueError if the file does not say which value is white, or which pixels are transparent.
    """
    if image.mode not in EIGHT_BITS + ALPHA:
        return Image.fromarray(_grey(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    _rescale_transparent_value(image)
    picture = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _grey(image: Image.Image) -> np.ndarray:
    """A picture of one channel with more than 8 bits as height x width, uint8."""
    tags = getattr(image, "tag_v2", {})
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and image.format in SCALED_TO_16_BITS):
        white = 2 ** tags.get(BITSPERSAMPLE, (16,))[0] - 1
    elif image.mode == "F":
        white = 1
    else:
        raise ValueError(f"mode {image.mode} does not say which value is white: save it with 8 or 16 bits per channel")

    # Only floats can lie outside; a comparison with NaN is false.
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= white):
        raise ValueError(f"floats must lie in [0, 1], not {values.min():g} … {values.max():g}: scale them")

    # TIFF may count from white to black, which Pillow leaves as it is in these modes.
    levels = values / white
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:
        levels = 1 - levels
    if "transparency" in image.info:
        levels = np.where(values == image.info["transparency"], 1, levels)
    return np.rint(255 * levels).astype(np.uint8)


def _rescale_transparent_value(image: Image.Image) -> None:
    """Give the transparent value of a PNG in 8 bits, like its pixels; Pillow leaves it in the bits of the file.

    ValueError for colours of 16 bits: Pillow keeps half of the bits, so other colours would become transparent too.
    """
    layout = image.tile[0][3] if getattr(image, "tile", None) and image.format == "PNG" else ""  # pyright: ignore[reportAttributeAccessIssue] - files have tiles
    if layout in ("L;2", "L;4"):
        image.info["transparency"] *= 255 // (2 ** int(layout[-1]) - 1)
    elif layout == "RGB;16B":
        raise ValueError("a transparent colour of 16 bits is not supported: save it with an alpha channel")


def images_below(root: Path) -> Iterator[str]:
    """Yield the image files in a folder and below it, as relative paths with "/", unordered; UserError as `listed`."""
    folders, images = listed(root)
    yield from images
    for folder in folders:
        yield from (f"{folder}/{path}" for path in images_below(root / folder))


def listed(folder: Path) -> tuple[list[str], list[str]]:
    """The names of a folder's subfolders and of its image files, unordered; UserError if it cannot be listed.

    Links count as what they lead to. Left out are names that begin with a dot, those in NO_DATA, and links to the
    folder itself or to one that it is in.
    """
    folders: list[str] = []
    images: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in NO_DATA:
                    continue
                # A link with the name of an image is not followed: that takes long for a million of them.
                named_as_image = entry.name.lower().endswith(IMG_EXTENSIONS)
                if entry.is_dir(follow_symlinks=False) or (not named_as_image and _leads_to_a_folder(Path(entry))):
                    folders.append(entry.name)
                elif named_as_image:
                    images.append(entry.name)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be listed ({error.strerror}): make it readable, or take it out of the images."
        ) from None
    return folders, images


def _leads_to_a_folder(path: Path) -> bool:
    """Whether a path is a link to a folder, and to none that holds the link, on whatever way it was reached."""
    if not (path.is_symlink() and path.is_dir()):
        return False
    target, above = path.resolve(), takewhile(lambda parent: parent.name != "..", path.parents)
    return not any(parent.resolve().is_relative_to(target) for parent in above)
