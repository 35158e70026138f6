"""The bars of the reliability diagram equal bins computed by hand, and its file is an image."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from harness.evaluation import pictures
from harness.evaluation.metrics.calibration import Calibration, by_bin, expected_calibration_error

PARTS = [
    {"confidence": [0.1, 0.25, 0.3, 0.5], "right": [False, True, True, False]},
    {"confidence": [0.5, 0.9, 1.0], "right": [True, True, True]},
]


def merged():
    return Calibration(split="test", bins=4).merge(None, PARTS)


def test_the_bars_are_the_bins_by_hand(monkeypatch, tmp_path):
    drawn = {}
    monkeypatch.setattr(
        "harness.evaluation.metrics.calibration.reliability", lambda *given: drawn.update(enumerate(given))
    )
    merged().pictures["reliability"](tmp_path / "r.png")
    path, accuracy, counts, title = drawn.values()
    assert path == tmp_path / "r.png"
    assert counts.tolist() == [2, 3, 0, 2], "(0, 0.25], (0.25, 0.5], (0.5, 0.75], (0.75, 1]"
    np.testing.assert_allclose(accuracy, [1 / 2, 2 / 3, np.nan, 1])
    assert title == f"ECE {merged().scores['ece'].value:.1f} %, 7 images"


def test_the_bins_are_kept_as_numbers_too():
    bins = merged().tables["reliability"]
    assert {tuple(one) for one in bins} == {("low", "high", "count", "right")}
    by_hand = [(0, 0.25, 2, 1), (0.25, 0.5, 3, 2), (0.5, 0.75, 0, 0), (0.75, 1, 2, 2)]
    assert [tuple(one.values()) for one in json.loads(json.dumps(bins))] == by_hand


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.sampled_from([1, 4, 8, 20]))
def test_the_gaps_of_the_bars_are_the_calibration_error(pairs, bins):
    confidence, right = (np.array(column) for column in zip(*pairs, strict=True))
    accuracy, counts = by_bin(confidence, right, bins)
    assert counts.sum() == len(right)
    sums = [confidence[np.ceil(confidence * bins).clip(1) == b + 1].sum() for b in range(bins)]
    if all(abs(bins * c - round(bins * c)) > 1e-9 for c in confidence):  # otherwise rounding may move it by one bin
        gaps = np.abs(np.where(counts > 0, accuracy, 0) * counts - sums)
        assert gaps.sum() / len(right) == pytest.approx(expected_calibration_error(confidence, right, bins), abs=1e-9)


def test_the_file_is_a_picture_with_bars_in_it(tmp_path):
    merged().pictures["reliability"](tmp_path / "full.png")
    pictures.reliability(tmp_path / "none.png", np.full(4, np.nan), np.zeros(4, int), "none")
    full, none = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB")) for name in ("full", "none"))
    light = np.array([0xBF, 0xE0, 0xF5])
    painted, unpainted = ((abs(image.astype(int) - light).max(-1) < 3).mean() for image in (full, none))
    assert painted > 0.1 > unpainted
