"""Pictures of all series: side by side, or one below another."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np

from harness.reports.plots.style import DPI, drawing, once, panels_beside, pixels_per_inch
from harness.reports.plots.svg import group

NARROW, WIDE = 480, 900
"""Width of a picture in pixels: enlarged by a whole number up to NARROW, and never wider than WIDE."""

GAP, LINE, LETTER = 16, 24, 11
"""Pixels between pictures; at DPI, height of a line of a title, and width of its letters."""


@once
def grids(path: Path, pictures: Sequence[tuple[str, np.ndarray]], said: str = "", columns: int = 4) -> None:
    """Write pictures in columns, each below its title, pixel by pixel where they fit.

    pictures: each a title and what matplotlib's `imread` returns. said: the remark above the pictures.
    """
    images = [image for _, image in pictures]
    widest = max(image.shape[1] for image in images)
    wide = min(widest * max(1, NARROW // widest), WIDE)
    high = max(round(image.shape[0] * wide / image.shape[1]) for image in images)
    columns = panels_beside(min(columns, len(pictures)), 1.6)
    width = columns * (wide + GAP) + GAP
    dpi = pixels_per_inch(width)
    line, letter = LINE * dpi / DPI, LETTER * dpi / DPI
    titles = [fill(title, int(wide / letter)) for title, _ in pictures]
    above = line * (2 + max(title.count("\n") for title in titles))
    rows = -(-len(pictures) // columns)
    top = 2 * line if said else 0
    height = rows * (above + high) + GAP + top
    with drawing(path, width / dpi, height / dpi, said, layout=None) as figure:
        for place, (title, (label, image)) in enumerate(zip(titles, pictures, strict=True)):
            row, column = divmod(place, columns)
            left, down = GAP + column * (wide + GAP), top + above + row * (above + high)
            tall = round(image.shape[0] * wide / image.shape[1])
            axes = figure.add_axes((left / width, 1 - (down + tall) / height, wide / width, tall / height))
            axes.set_gid(group(label))
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="auto")
            axes.set_title(title, fontsize=9)
            axes.axis("off")
