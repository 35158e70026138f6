"""The one style of all figures: it reads in print, in grey and without colour vision."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any, Literal
from zlib import crc32

from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image

from harness.core.files import atomic_write

DPI = 150

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that it is there and the same everywhere
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.titlesize": 9,
    "legend.frameon": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 6,
    "lines.markeredgewidth": 0.8,
    "errorbar.capsize": 2.5,
    "hatch.linewidth": 0.8,
    "savefig.dpi": DPI,
    "pdf.fonttype": 42,  # text that can be searched and edited
}

BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, GREY = "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"
"""Okabe and Ito's, told apart by colour-blind eyes; their yellow is left out, for it is lost on white."""

PALE = "#BFE0F5"
"""For areas, beside BLUE."""

SOLID, DASHED, DOTTED, DASHDOT, LONG = (0, ()), (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2))

MOST = 12
"""Series that a figure shows; it says so where there are more."""

LETTERS = 9
"""Of what is said above a figure, in an inch of its width; beside it stands the legend."""

COLOURFUL = 16384
"""Colours of a picture that a palette of 256 would spoil; drawings have fewer."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn in every figure."""

    colour: str
    marker: str
    dash: tuple[float, tuple[float, ...]] = SOLID

    @property
    def mark(self) -> dict[str, Any]:
        """What matplotlib is told of a marker."""
        return {"color": self.colour, "marker": self.marker, "markeredgecolor": "black"}


METHODS = {
    "standard": Look(BLACK, "*"),
    "at": Look(VERMILION, "s"),
    "trades": Look(ORANGE, "D", DASHED),
    "ratio": Look(PURPLE, "P", DASHDOT),
    "jem": Look(GREEN, "^"),
    "jempp": Look(GREEN, "v", DASHED),
    "sadajem": Look(GREEN, ">", DOTTED),
    "ebjdat": Look(SKY, "X", LONG),
    "generative": Look(BLUE, "d", DASHED),
    "atjem": Look(BLUE, "o"),
    "pretrained": Look(GREY, "H"),
}
"""Of the methods that come with the harness: kin share a colour, and marker and line tell them apart."""

OTHERS = [Look(*pair, LONG) for pair in product((PURPLE, ORANGE, VERMILION, SKY, GREY, BLACK), "<ph")]
"""One of these, by its name, is any other method's."""

VARIANTS = list(zip("Dp<h^8", (DASHDOT, DOTTED, LONG, DASHED, SOLID, DASHDOT), strict=True))
"""What replaces a method's own marker and line in its second series, its third, …; an octagon looks like a circle."""


def looks(methods: Sequence[str]) -> list[Look]:
    """A look for each series, by its method: the method's own for the first of it, variants for the others."""
    seen, found = Counter[str](), list[Look]()
    for method in methods:
        own = METHODS.get(method) or OTHERS[crc32(method.encode()) % len(OTHERS)]
        others = [variant for variant in VARIANTS if variant[0] != own.marker]
        variant = others[(seen[method] - 1) % len(others)]
        found.append(Look(own.colour, *variant) if seen[method] else own)
        seen[method] += 1
    return found


def told(*texts: str, of: int) -> str:
    """What is said above a figure: some texts, and of how many series it shows the first, where that is not all."""
    left = f"the first {MOST} of {of} series" if of > MOST else ""
    return "; ".join(filter(None, [*texts, left]))


@contextmanager
def drawing(
    path: Path, width: float, height: float, said: str = "", layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """A figure of some inches; at the end it is written as PNG to the path, and as PDF beside it.

    The same data give the same bytes. said: what must be said of the numbers, above them. layout: matplotlib's.
    """
    with style.context(STYLE, after_reset=True):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        if said:
            figure.suptitle(fill(said, int(LETTERS * width)), x=0.01, ha="left")
        with atomic_write(path) as temporary:
            _picture(figure).save(temporary, optimize=True, dpi=(DPI, DPI))
        with atomic_write(path.with_suffix(".pdf")) as temporary:
            figure.savefig(temporary, metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))


def _picture(figure: Figure) -> Image.Image:
    """The figure in pixels, with a palette where it has few colours."""
    png = BytesIO()
    figure.savefig(png, format="png")
    image = Image.open(png).convert("RGB")
    return image.quantize(256, dither=Image.Dither.NONE) if image.getcolors(COLOURFUL) else image
