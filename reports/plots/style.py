"""The style of all figures: readable in print, in greyscale and with colour blindness."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from itertools import product
from pathlib import Path
from textwrap import fill
from typing import Any, Concatenate, Literal, ParamSpec
from zlib import crc32

from matplotlib import style
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator
from PIL import Image

from harness.core.files import atomic_write, write_text
from harness.reports.made import Made, digest
from harness.reports.plots.svg import inline, mark_legend

P = ParamSpec("P")

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
    "svg.hashsalt": "harness",  # the same data give the same names
}

WIDTHS = {"column": 3.3, "page": 6.8}
"""Widths in inches of figures for a paper: of a column, and of a page of two columns."""

SIZE = 8
"""Points of all letters of figures for a paper."""

PRINT_DPI = 300

PRINTED = dict.fromkeys(("font.size", "axes.titlesize", "figure.titlesize"), SIZE)

UNDATED = {
    ".png": {"Software": None},
    ".pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
    ".svg": dict.fromkeys(("Creator", "Date")),
}
"""Metadata of files by their suffix, without dates and versions, so that bytes depend on the data alone."""

PRINTED_LETTERS, LABEL = 13, 28
"""Letters of the text above a figure for a paper per inch of its width, and in a line of the label of an axis."""

HIGHEST = 9.0
"""The most inches of the height of a figure for a paper."""

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
    """How a series is drawn in every figure; a marker of three numbers is a star (points, 1, angle)."""

    colour: str
    marker: str | tuple[int, int, int]
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
    "robustjem": Look(GREEN, "p", LONG),
    "hdge": Look(GREEN, "h", DASHDOT),
    "weat": Look(ORANGE, "<", DOTTED),
    "mart": Look(ORANGE, (4, 1, 0), LONG),
    "energyood": Look(PURPLE, (6, 1, 0), DASHED),
    "generative": Look(BLUE, "d", DASHED),
    "atebm": Look(BLUE, (8, 1, 0), DOTTED),
    "atjem": Look(BLUE, "o"),
    "pretrained": Look(GREY, "H"),
    "samples": Look(GREY, "8", DOTTED),
}
"""Looks of the methods of the harness: related methods share a colour and differ in marker and line."""

OTHERS = [Look(*pair, LONG) for pair in product((PURPLE, ORANGE, VERMILION, SKY, GREY, BLACK), "<ph")]
"""Looks of other methods, chosen by a hash of the method's name."""

VARIANTS = list(zip("Dp<h^8", (DASHDOT, DOTTED, LONG, DASHED, SOLID, DASHDOT), strict=True))
"""Marker and line of a method's second series, its third, …; the octagon, much like a circle, is last."""


@dataclass(frozen=True)
class Sheet:
    """Where a figure stands in a paper, its column or its page, and the formats of its files."""

    figure: Literal["column", "page"]
    formats: Sequence[Literal["pdf", "svg", "png"]] = ("pdf",)

    @property
    def width(self) -> float:
        """The width of its figures in inches."""
        return WIDTHS[self.figure]

    def files(self, path: Path) -> list[Path]:
        """Return the files of a figure, given its path on the pages: one for each format, in a folder beside that."""
        return [path.parent / self.figure / f"{path.stem}.{kind}" for kind in self.formats]


SHEET: ContextVar[Sheet | None] = ContextVar("SHEET", default=None)
"""The sheet for which figures are drawn; None for those of the pages."""


@contextmanager
def on_paper(sheet: Sheet) -> Iterator[None]:
    """Draw the figures of the body for a paper: as wide as the sheet, all letters of 8 pt, the legend below."""
    token = SHEET.set(sheet)
    try:
        yield
    finally:
        SHEET.reset(token)


def panels_beside(most: int, inches: float) -> int:
    """Return how many panels stand side by side: `most`, or on paper those of so many inches that fit."""
    sheet = SHEET.get()
    return max(1, min(most, int(sheet.width / inches))) if sheet else most


def pixels_per_inch(pixels: int) -> float:
    """Return the resolution of a figure that is so many pixels wide; on paper they fill the sheet."""
    sheet = SHEET.get()
    return pixels / sheet.width if sheet else DPI


def legend(figure: Figure, handles: Sequence[Any], labels: Sequence[str], **how: Any) -> None:  # noqa: ANN401 - matplotlib's
    """Add the legend, as matplotlib's arguments say; on paper below the axes, in as many columns as fit."""
    sheet = SHEET.get()
    if not sheet:
        mark_legend(figure.legend(handles, labels, **how), handles)
        return
    how |= {"loc": "outside lower center", "fontsize": SIZE, "columnspacing": 1.0}
    for columns in range(len(handles), 0, -1):
        made = figure.legend(handles, labels, **(how | {"ncols": columns}))
        if columns == 1 or made.get_window_extent().width <= sheet.width * figure.dpi:
            return
        made.remove()


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


def once(draw: Callable[Concatenate[Path, P], None]) -> Callable[Concatenate[Path, P], None]:
    """Decorate a function that draws a figure of a page: nothing is drawn if its files were made from the same data."""

    @wraps(draw)
    def drawn(path: Path, *data: P.args, **more: P.kwargs) -> None:
        if SHEET.get():
            draw(path, *data, **more)
            return
        made, files = Made(path.parent), [path.with_suffix(suffix).name for suffix in (".png", ".pdf", ".svg")]
        key = digest(draw.__qualname__, data, more)
        if not all(made.holds(file, key) for file in files):
            draw(path, *data, **more)
            made.note(dict.fromkeys(files, key))

    return drawn


@contextmanager
def drawing(
    path: Path,
    width: float,
    height: float,
    said: str = "",
    layout: Literal["constrained"] | None = "constrained",
    beside: float = 0.0,
    rows: bool = False,
) -> Iterator[Figure]:
    """Yield a figure of a size in inches; at the end, write it as PNG to the path; PDF and SVG next to it.

    The same data give the same bytes. said: the remark above the figure. layout: matplotlib's. On paper, it is as wide
    as the sheet and written to the sheet's files; beside: inches of the width for a legend, which then stands below;
    rows: whether lines of text fill the height, which then stays.
    """
    sheet = SHEET.get()
    with style.context(STYLE | (PRINTED if sheet else {}), after_reset=True):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        if sheet:
            _fit(figure, sheet.width, said, 1.0 if rows else sheet.width / (width - beside))
            for file in sheet.files(path):
                with atomic_write(file) as temporary:
                    figure.savefig(temporary, dpi=PRINT_DPI, metadata=UNDATED[file.suffix])
            return
        if said:
            figure.suptitle(fill(said, int(LETTERS * width)), x=0.01, ha="left")
        # Write both formats without dates, so that bytes depend on the data alone.
        with atomic_write(path) as temporary:
            _picture(figure).save(temporary, optimize=True, dpi=(DPI, DPI))
        with atomic_write(path.with_suffix(".pdf")) as temporary:
            figure.savefig(temporary, metadata=UNDATED[".pdf"])
        write_text(path.with_suffix(".svg"), inline(figure, path.stem), durable=False)


def _fit(figure: Figure, width: float, said: str, scale: float) -> None:
    """Make a figure as wide as the sheet, with letters of 8 pt; its height is scaled, and its legend is added to it."""
    height = figure.get_figheight() * scale
    above: list[Artist] = [figure.suptitle(fill(said, int(PRINTED_LETTERS * width)), x=0.01, ha="left")] if said else []
    # Wrap the labels of axes, and leave out numbers of logarithmic ones where a column has no room for them.
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        parts = axis.get_label_text().split("  ")
        if len("  ".join(parts)) > LABEL:
            axis.set_label_text("\n".join(fill(part, LABEL) for part in parts))
        if width == WIDTHS["column"] and isinstance(axis.get_major_locator(), LogLocator):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
    for text in figure.findobj(Text):
        text.set_fontsize(SIZE)  # pyright: ignore[reportAttributeAccessIssue]
    # Make room for what stands outside the axes; without a layout, the figure has it already.
    if figure.get_layout_engine():
        outside = sum(artist.get_window_extent().height for artist in [*above, *figure.legends])
        height = min(height + outside / figure.dpi, HIGHEST)
    figure.set_size_inches(width, height)


def _picture(figure: Figure) -> Image.Image:
    """Return the figure in pixels, with a palette if it has few colours."""
    png = BytesIO()
    figure.savefig(png, format="png")
    image = Image.open(png).convert("RGB")
    return image.quantize(256, dither=Image.Dither.NONE) if image.getcolors(COLOURFUL) else image
