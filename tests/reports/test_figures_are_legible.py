"""Figures are legible: no text is cut or covered, a method looks the same in all of them; same data, same bytes."""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from math import nan
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from harness.core.registry import names
from harness.reports.plots import style
from harness.reports.plots.grids import grids
from harness.reports.plots.lines import Line, Panel, lines
from harness.reports.plots.maps import Map, maps
from harness.reports.plots.ranks import ranks
from harness.reports.plots.reliability import Bin, Diagram, reliability
from harness.reports.plots.style import METHODS, MOST, WIDTHS, Sheet, looks, on_paper
from harness.reports.plots.tradeoff import PUBLISHED, Point, Reference, Scale, Value, tradeoff

LABELS = [*METHODS, "atjem (method.joint.training.lr=0.01 method.joint.bce=0)", "new"][-MOST:]
LOOKS = dict(zip(LABELS, looks([label.partition(" ")[0] for label in LABELS]), strict=True))
SAID = "for trying out; bars: sd over seeds; the first 12 of 20 series"
KINDS = ("tradeoff", "lines", "dense", "reliability", "grids", "maps", "ranks")


def draw(folder: Path) -> None:
    """Draw every kind of figure with the maximum number of series, two of them with long names."""
    path = {kind: folder / f"{kind}.png" for kind in KINDS}
    bars = [Value(2.0**i, 2.0**i - 0.1, nan) for i in range(MOST)]
    points = [Point(k, LOOKS[k], bar, bars[-i], i < 3) for i, (k, bar) in enumerate(zip(LABELS, bars, strict=True))]
    others = [Reference(f"Somebody's method (net {i})", 3.0 * i + 1, 20.0 * i) for i in range(6)]
    x, y = Scale("FID", "lower"), Scale("Robust accuracy (L2 0.5), %", "higher")
    tradeoff(path["tradeoff"], points, others, x, y, SAID)
    found = {k: Line([0.0, 0.5, 1.0], [90, 60 + i, 40], [nan] * 3, [95] * 3) for i, k in enumerate(LABELS)}
    steps = {
        k: Line([5, 10, 100], [9, 2 + i, 40], [nan] * 3, [50] * 3, [False, True, False]) for i, k in enumerate(LABELS)
    }
    panels = [Panel("L2 radius", "accuracy, %", found), Panel("sampler's steps", "FID", steps, log="xy")]
    lines(path["lines"], panels, LOOKS, SAID)
    ramp = np.linspace(1, 1e6, 40)
    curves = {k: Line(ramp, ramp + i, ramp, ramp + 2 * i) for i, k in enumerate(LABELS)}
    lines(path["dense"], [Panel("images seen", f"robust_{i}", curves, True, "y") for i in range(4)], LOOKS, SAID)
    bins = [Bin(i / 10, (i + 1) / 10, 10 * (i % 3), 5 * (i % 3)) for i in range(10)]
    reliability(path["reliability"], [Diagram(label, "ECE 10.5 %", bins) for label in LABELS[-7:]], SAID)
    picture = np.indices((40, 60)).sum(0) % 9 / 8
    grids(path["grids"], [(label, picture) for label in LABELS[-5:]], SAID)
    cells = {(x, y): Counter(sound=2, collapsed=1, diverged=1) for x in (0.5, 1.0) for y in (1.0, 2.0)}
    maps(path["maps"], [Map(label, cells) for label in LABELS[-5:]], ["rate", "step"], SAID)
    means = {label: 1.5 + 0.8 * i for i, label in enumerate(LABELS)}
    ranks(path["ranks"], means, LOOKS, [(1.5, 4.7), (3.1, 6.3), (7.1, 10.3)], 3.3, SAID)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Figure]]:
    """The folder of all figures, and their matplotlib objects."""
    folder, made, whole = tmp_path_factory.mktemp("figures"), [], style._picture
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "_picture", lambda figure: made.append(figure) or whole(figure))
        draw(folder)
    return folder, dict(zip(KINDS, made, strict=True))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Figure]]]:
    """The same figures for a column and for a page of a paper."""
    result, fit = {}, style._fit
    for place in WIDTHS:
        folder, made = tmp_path_factory.mktemp(place), []
        with pytest.MonkeyPatch.context() as patch, on_paper(Sheet(place, ("svg",))):
            patch.setattr(style, "_fit", lambda figure, *how, made=made: made.append(figure) or fit(figure, *how))
            draw(folder)
        result[place] = folder, dict(zip(KINDS, made, strict=True))
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_cut_and_no_two_texts_overlap(drawn: tuple[Path, dict[str, Figure]], kind: str) -> None:
    _check_texts(drawn[1][kind])


@pytest.mark.parametrize("place", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_neither_in_a_paper_where_all_letters_have_8_points(
    printed: dict[str, tuple[Path, dict[str, Figure]]], place: str, kind: str
) -> None:
    folder, figures = printed[place]
    figure, (file,) = figures[kind], (folder / place).glob(f"{kind}.*")
    with style.style.context(style.STYLE | style.PRINTED, after_reset=True):
        _check_texts(figure)
    assert {text.get_fontsize() for text in _texts(figure)} == {8}
    size = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', file.read_text(encoding="utf-8"))
    assert size and float(size[1]) == pytest.approx(72 * {"column": 3.3, "page": 6.8}[place])
    assert float(size[2]) <= 72 * 9.0, "it must fit below the head of a page"
    assert not list(folder.glob("*.*")), "the figures of the pages are as they were"


def _check_texts(figure: Figure) -> None:
    """Check that no text of a figure is cut, none covers another, and no legend covers data."""
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in _texts(figure) if text.get_visible() and text.get_text()}
    assert any(SAID in " ".join(text.get_text().split()) for text in boxes)
    for text, box in boxes.items():
        inside = figure.bbox.padded(1)
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1, f"{text} is cut"
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1, f"{text} is cut"
    for (one, a), (other, b) in combinations(boxes.items(), 2):
        overlap = max(0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0, min(a.y1, b.y1) - max(a.y0, b.y0))
        assert overlap < 0.1 * min(a.width * a.height, b.width * b.height), f"{one} overlaps {other}"
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(text.get_window_extent()) for text in figure.texts)
        assert not any(legend.get_window_extent().overlaps(axes.bbox) for axes in figure.axes), "the legend covers data"


def _texts(figure: Figure) -> Iterator[Text]:
    """All texts that are drawn: titles, axis labels, visible ticks, and legends."""
    yield from (text for of in (figure.texts, *(legend.get_texts() for legend in figure.legends)) for text in of)
    for axes in figure.axes:
        yield from (axes.title, *axes.texts)
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            low, high = sorted(axis.get_view_interval())
            yield axis.label
            yield from (tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high)


def test_published_results_are_hollow_and_said_not_to_be_ours(drawn: tuple[Path, dict[str, Figure]]) -> None:
    (axes,) = drawn[1]["tradeoff"].axes
    hollow = [line.get_label() for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert len(hollow) == 6 and all(label.startswith("Somebody's") for label in hollow)
    labels = [text.get_text() for text in drawn[1]["tradeoff"].legends[0].get_texts()]
    assert labels.index(f"\n{PUBLISHED}:") == labels.index(hollow[0]) - 1, "they must stand below the words"
    assert set(labels[labels.index(hollow[0]) :]) == set(hollow)


def test_the_same_data_give_the_same_bytes_whoever_draws(drawn: tuple[Path, dict[str, Figure]], tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 5\nsavefig.dpi: 40\n")
    code = "import sys, pathlib, test_figures_are_legible as t; t.draw(pathlib.Path(sys.argv[1]))"
    theirs = os.environ | {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONHASHSEED": "7",
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
    }
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=Path(__file__).parent, env=theirs, check=True)
    for kind, suffix in ((kind, suffix) for kind in KINDS for suffix in (".png", ".pdf")):
        assert (tmp_path / f"{kind}{suffix}").read_bytes() == (drawn[0] / f"{kind}{suffix}").read_bytes(), kind + suffix


def test_every_method_has_its_own_marker_and_looks_the_same_in_all_figures() -> None:
    assert set(names("method")) <= set(METHODS)
    assert len({look.marker for look in METHODS.values()}) == len(METHODS)
    among = looks(["new", "jem", "atjem", "jem", "jem"])
    assert among[:3] == [*looks(["new"]), METHODS["jem"], METHODS["atjem"]]
    assert len({look.colour for look in (among[1], *among[3:])}) == 1
    assert len({look.marker for look in among}) == 5
