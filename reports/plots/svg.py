"""A figure as SVG inside a page: groups name the series they show, so that the page's filter can hide them."""

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import chain
from xml.etree import ElementTree as xml
from zlib import crc32

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.legend import Legend

from harness.core.text import visible
from harness.reports.webpage import pack

SERIES = "series: "
"""What the group id of each artist of a series begins with."""

SVG, HREF = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
PNG = "data:image/png;base64,"

CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")

LEFT_OUT = (f"{SVG}metadata", f"{SVG}style")
"""Elements that are left out: dates and versions, and the style of all lines, which a page's policy forbids."""

LINES = {"stroke-linejoin": "round", "stroke-linecap": "butt"}
"""That style, as attributes of the figure."""


def group(label: str) -> str:
    """Return the group id of all artists of a series."""
    return SERIES + visible(label)


@contextmanager
def of_series(axes: Axes, label: str) -> Iterator[None]:
    """Mark all that the body draws in the axes as a series' own."""
    before = set(axes.get_children())
    yield
    for artist in axes.get_children():
        if artist not in before:
            artist.set_gid(group(label))


def mark_legend(legend: Legend, handles: Sequence[Artist | Container]) -> None:
    """Mark the entries of a legend, sign and text, as the artists that they were made for are marked."""
    _, columns = legend.get_children()[0].get_children()
    entries = chain.from_iterable(column.get_children() for column in columns.get_children())
    for entry, handle in zip(entries, handles, strict=True):
        drawn = handle[0] if isinstance(handle, Container) else handle
        for artist in entry.findobj():
            artist.set_gid(drawn.get_gid())


def inline(figure: Figure, name: str) -> str:
    """Return the figure as an SVG element for a page that allows no style but its own.

    What belongs to a series is a group with its label as `data-label`. Pictures keep their pixels, as lossless WebP.
    name: the figure's own among those of the page; ids are made from it.
    """
    for image in figure.findobj(AxesImage):
        image.set_interpolation("none")  # pyright: ignore[reportAttributeAccessIssue]
    buffer = BytesIO()
    figure.savefig(buffer, format="svg")
    # Texts also stand in comments, where control characters are not XML.
    root, prefix = xml.fromstring(CONTROL.sub(b"", buffer.getvalue())), f"f{crc32(name.encode()):08x}-"
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in LEFT_OUT:
                parent.remove(child)
    for element in list(root.iter()):
        _plain(element, prefix)
    for size in ("width", "height"):
        del root.attrib[size]  # the page chooses them
    root.attrib |= LINES
    xml.register_namespace("", SVG[1:-1])
    return xml.tostring(root, encoding="unicode")


def _plain(element: xml.Element, prefix: str) -> None:
    """Write the style as attributes, which no policy forbids; make ids the figure's own; name series, pack pictures."""
    own = element.attrib
    for part in filter(None, map(str.strip, own.pop("style", "").split(";"))):
        key, _, value = part.partition(":")
        own[key] = value.strip()
    for key, value in own.items():
        own[key] = re.sub(r"url\(#", f"url(#{prefix}", value)
    name = own.pop("id", "")
    if name.startswith(SERIES):
        own["data-label"] = name.removeprefix(SERIES)
        title = xml.Element(f"{SVG}title")  # what a browser shows when one points at the group
        title.text = own["data-label"]
        element.insert(0, title)
    elif name and element.tag != f"{SVG}g":
        own["id"] = prefix + name
    if link := own.pop(HREF, ""):
        own["href"] = f"#{prefix}{link[1:]}" if link.startswith("#") else link
    if link.startswith(PNG):
        own["href"] = str(pack(b64decode(link.removeprefix(PNG))))
