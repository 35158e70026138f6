"""A figure on a page names what it shows of each series, needs no style that the page's policy forbids, and keeps its
pixels."""

from base64 import b64decode
from collections import Counter
from io import BytesIO
from math import nan
from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np
import pytest
from PIL import Image

from harness.core.text import visible
from harness.reports.plots.grids import grids
from harness.reports.plots.lines import Line, Panel, lines
from harness.reports.plots.ranks import ranks
from harness.reports.plots.reliability import Bin, Diagram, reliability
from harness.reports.plots.style import looks
from harness.reports.plots.tradeoff import Point, Reference, Scale, Value, tradeoff

LABELS = ["AT-JEM (DAT)", "JEM", 'x (method.a="<b>" & so on, which is a long one)\x01']
LOOKS = dict(zip(LABELS, looks(["atjem", "jem", "jem"]), strict=True))
PICTURE = np.random.default_rng(0).integers(0, 256, (9, 13)) / 255


def draw(folder: Path) -> dict[str, xml.Element]:
    """The figures of a page by name, each of three series."""
    path = {kind: folder / f"{kind}.png" for kind in ("tradeoff", "lines", "dense", "ranks", "reliability", "grids")}
    points = [Point(label, LOOKS[label], Value(i, i - 1, nan), Value(i, nan, nan)) for i, label in enumerate(LABELS, 1)]
    tradeoff(path["tradeoff"], points, [Reference("theirs", 1, 2)], Scale("FD", "lower"), Scale("accuracy", "higher"))
    line = Line([1, 2], [1, 2], [0, 1], [2, nan])
    lines(path["lines"], [Panel("x", "y", dict.fromkeys(LABELS, line))], LOOKS)
    lines(path["dense"], [Panel("x", "y", dict.fromkeys(LABELS, line), dense=True)] * 2, LOOKS)
    ranks(path["ranks"], dict(zip(LABELS, (1.0, 2.0, 3.0), strict=True)), LOOKS, [(1, 2)], 1.0)
    reliability(path["reliability"], [Diagram(label, "", [Bin(0, 1, 9, 5)]) for label in LABELS])
    grids(path["grids"], [(label, PICTURE) for label in LABELS])
    return {kind: xml.fromstring(file.with_suffix(".svg").read_text(encoding="utf-8")) for kind, file in path.items()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xml.Element]:
    return draw(tmp_path_factory.mktemp("figures"))


def tag(element: xml.Element) -> str:
    return element.tag.partition("}")[2]


def test_all_that_belongs_to_a_series_has_its_label(drawn: dict[str, xml.Element]) -> None:
    for kind, figure in drawn.items():
        groups = [group for group in figure.iter() if "data-label" in group.attrib]
        counts = Counter(group.get("data-label") for group in groups)
        assert set(counts) == set(map(visible, LABELS)), kind
        assert all(tag(group) == "g" and tag(group[0]) == "title" for group in groups)
        assert {group[0].text == group.get("data-label") for group in groups} == {True}
        # In a figure with a legend, a series has its marks and the two parts of an entry at least.
        least = {"reliability": 1, "grids": 1, "ranks": 2}.get(kind, 3)
        assert min(counts.values()) >= least, (kind, counts)


def test_what_belongs_to_none_has_no_label(tmp_path: Path) -> None:
    def others(element: xml.Element) -> int:
        """Letters and markers outside the groups of series."""
        return sum(others(child) for child in element if "data-label" not in child.attrib) + (tag(element) == "use")

    def count(number: int, references: list[Reference]) -> int:
        points = [Point(label, LOOKS[label], Value(1, nan, nan), Value(1, nan, nan)) for label in LABELS[:number]]
        path = tmp_path / f"{number}-{len(references)}.png"
        tradeoff(path, points, references, Scale("FD", "lower"), Scale("accuracy", "higher"))
        return others(xml.fromstring(path.with_suffix(".svg").read_text(encoding="utf-8")))

    assert count(1, []) == count(2, []) > 0, "the same axes, whatever the series"
    assert count(1, [Reference("theirs", 1, 1)]) >= count(1, []) + len("theirs"), "a published result is of no series"


def test_no_style_is_needed_that_the_policy_of_a_page_forbids(drawn: dict[str, xml.Element]) -> None:
    for kind, figure in drawn.items():
        assert not [element for element in figure.iter() if "style" in element.attrib or tag(element) == "style"], kind
        assert "width" not in figure.attrib and "viewBox" in figure.attrib, "the page chooses its size"
        assert [element for element in figure.iter() if element.get("fill")], "styles became attributes"


def test_no_two_figures_share_an_id_and_every_link_leads_to_one(drawn: dict[str, xml.Element]) -> None:
    ids = {kind: {name for element in figure.iter() if (name := element.get("id"))} for kind, figure in drawn.items()}
    for kind, figure in drawn.items():
        for element in figure.iter():
            link, clip = element.get("href", ""), element.get("clip-path", "")
            assert not link.startswith("#") or link[1:] in ids[kind], kind
            assert not clip or clip.removeprefix("url(#").removesuffix(")") in ids[kind], kind
    together = Counter(name for names in ids.values() for name in names)
    assert max(together.values()) == 1


def test_pictures_keep_their_pixels(drawn: dict[str, xml.Element]) -> None:
    images = [element for element in drawn["grids"].iter() if tag(element) == "image"]
    assert len(images) == len(LABELS)
    for element in images:
        content = element.get("href", "").removeprefix("data:image/webp;base64,")
        pixels = np.asarray(Image.open(BytesIO(b64decode(content))).convert("L"))
        # The colour map of greys is cut to 8 bits, not rounded.
        assert pixels.shape == PICTURE.shape and np.abs(pixels - 255 * PICTURE).max() <= 1.001
        assert element.get("image-rendering") == "pixelated"


def test_the_same_data_give_the_same_bytes(drawn: dict[str, xml.Element], tmp_path: Path) -> None:
    again = draw(tmp_path)
    assert {kind: xml.tostring(figure) for kind, figure in again.items()} == {
        kind: xml.tostring(figure) for kind, figure in drawn.items()
    }
