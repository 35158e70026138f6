"""The style of all figures: readable in print, in greyscale and with colour blindness."""

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
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 9,
    "text.parse_math": False,  # a $ in a name is a $
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
    "pdf.fonttype": 42,  # keeps text searchable and editable
}

BLACK, BLUE, VERMILION, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY, GREY = "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F"
"""Palette of Okabe and Ito, which colour-blind readers can distinguish; without yellow, which is faint on white."""

PALE = "#BFE0F5"
"""For areas, next to BLUE."""

SOLID, DASHED, DOTTED, DASHDOT, LONG = (0, ()), (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (8, 2))

MOST = 12
"""Maximum number of series in a figure, which says so if there are more."""

LETTERS = 9
"""Letters of the text above a figure per inch of its width; the legend stands beside the text."""

COLOURFUL = 16384
"""With more colours than this, a picture keeps them all instead of a palette of 256; drawings have fewer."""


@dataclass(frozen=True)
class Look:
    """How a series is drawn in every figure."""

    colour: str
    marker: str
    dash: tuple[float, tuple[float, ...]] = SOLID

    @property
    def mark(self) -> dict[str, Any]:
        """Arguments of matplotlib for the marker."""
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
    "samples": Look(GREY, "8", DOTTED),
}
"""Looks of the methods of the harness: related methods share a colour and differ in marker and line."""

OTHERS = [Look(*pair, LONG) for pair in product((PURPLE, ORANGE, VERMILION, SKY, GREY, BLACK), "<ph")]
"""Looks of other methods, chosen by a hash of the method's name."""

VARIANTS = list(zip("Dp<h^8", (DASHDOT, DOTTED, LONG, DASHED, SOLID, DASHDOT), strict=True))
"""Marker and line of a method's second series, its third, …; the octagon, much like a circle, is last."""


def looks(methods: Sequence[str]) -> list[Look]:
    """Return a look for each series: its method's own for the first of a method, variants for the others."""
    uses, result = Counter[str](), list[Look]()
    for method in methods:
        own = METHODS.get(method) or OTHERS[crc32(method.encode()) % len(OTHERS)]
        others = [variant for variant in VARIANTS if variant[0] != own.marker]
        variant = others[(uses[method] - 1) % len(others)]
        result.append(Look(own.colour, *variant) if uses[method] else own)
        uses[method] += 1
    return result


def told(*texts: str, of: int) -> str:
    """Join texts into the remark above a figure; add how many of the `of` series it shows, if not all."""
    remark = f"the first {MOST} of {of} series" if of > MOST else ""
    return "; ".join(filter(None, [*texts, remark]))


@contextmanager
def drawing(
    path: Path, width: float, height: float, said: str = "", layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """Yield a figure of a size in inches; at the end, write it as PNG to the path and as PDF next to it.

    The same data give the same bytes. said: the remark above the figure. layout: matplotlib's.
    """
    with style.context(STYLE, after_reset=True):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        if said:
            figure.suptitle(fill(said, int(LETTERS * width)), x=0.01, ha="left")
        # Write both formats without dates, so that bytes depend on the data alone.
        with atomic_write(path) as temporary:
            _picture(figure).save(temporary, optimize=True, dpi=(DPI, DPI))
        with atomic_write(path.with_suffix(".pdf")) as temporary:
            figure.savefig(temporary, metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))


def _picture(figure: Figure) -> Image.Image:
    """Return the figure in pixels, with a palette if it has few colours."""
    png = BytesIO()
    figure.savefig(png, format="png")
    image = Image.open(png).convert("RGB")
    return image.quantize(256, dither=Image.Dither.NONE) if image.getcolors(COLOURFUL) else image
