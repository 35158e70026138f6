"""ECE equals a loop over its bins; Wilson's interval equals its formula and has its coverage in a simulation."""

from functools import cache
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torchmetrics.functional.classification import multiclass_calibration_error

from harness.evaluation.intervals import share
from harness.evaluation.metrics.calibration import Calibration, expected_calibration_error


def ece(confidence, right, bins):
    """The ECE by a loop over bins (lo, hi]; a confidence of 0 belongs to the first."""
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [i for i, c in enumerate(confidence) if low < c <= high or (b == 0 and c == 0)]
        if inside:
            accuracy = sum(right[i] for i in inside) / len(inside)
            mean = sum(confidence[i] for i in inside) / len(inside)
            total += len(inside) / len(right) * abs(accuracy - mean)
    return total


@settings(max_examples=200)
@given(st.data(), st.sampled_from([1, 2, 4, 8, 16]))
def test_ece_is_that_of_a_loop_over_its_bins_edges_included(data, bins):
    edges = st.integers(0, bins).map(lambda k: k / bins)  # exact in binary, like the bin edges
    confidence = st.one_of(edges, st.floats(0, 1), st.sampled_from([0.0, 1.0]))
    pairs = data.draw(st.lists(st.tuples(confidence, st.booleans()), min_size=1, max_size=40))
    confidences, right = (list(column) for column in zip(*pairs, strict=True))
    ours = expected_calibration_error(np.array(confidences), np.array(right), bins)
    assert ours == pytest.approx(ece(confidences, right, bins), rel=1e-10, abs=1e-12)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_ece_of_twenty_bins_is_that_of_a_loop(pairs):
    # An edge such as 3/20 is not exact in binary: values within rounding of it may fall on either side.
    pairs = [(c, r) for c, r in pairs if abs(20 * c - round(20 * c)) > 1e-9] or [(0.33, True)]
    confidences, right = (list(column) for column in zip(*pairs, strict=True))
    ours = expected_calibration_error(np.array(confidences), np.array(right), 20)
    assert ours == pytest.approx(ece(confidences, right, 20), rel=1e-10, abs=1e-12)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    # With 0.5 in (0.25, 0.5] the errors of two bins add up; in (0.5, 0.75] they would cancel within one bin.
    assert expected_calibration_error(np.array([0.5, 0.75]), np.array([True, False]), 4) == pytest.approx(0.625)
    assert expected_calibration_error(np.array([0.5625, 0.75]), np.array([True, False]), 4) == pytest.approx(0.15625)


def test_ece_of_perfect_calibration_is_zero_and_of_sure_errors_one():
    assert expected_calibration_error(np.ones(5), np.ones(5, dtype=bool), 20) == 0
    assert expected_calibration_error(np.ones(5), np.zeros(5, dtype=bool), 20) == 1
    assert expected_calibration_error(np.full(4, 0.5), np.array([1, 0, 1, 0]), 20) == 0


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(2, 12), st.sampled_from([1, 15, 20]))
def test_ece_is_that_of_torchmetrics(seed, classes, bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.5), 200)
    labels = rng.integers(classes, size=200)
    theirs = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=classes, n_bins=bins, norm="l1"
    )
    ours = expected_calibration_error(probabilities.max(1), probabilities.argmax(1) == labels, bins)
    assert ours == pytest.approx(float(theirs), rel=1e-6)


def test_the_score_is_in_percent_over_all_parts():
    parts = [{"confidence": [1.0, 1.0], "right": [True, False]}, {"confidence": [1.0, 1.0], "right": [False, False]}]
    score = Calibration(split="test", bins=20).merge(None, parts).scores["ece"]
    assert (score.value, score.n, score.unit, score.better) == (75.0, 4, "%", "lower")


@cache
def interval(right, n):
    score = share("Accuracy", "1" * right + "0" * (n - right))
    return score.low, score.high


@settings(max_examples=100)
@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_share_has_wilson_s_interval(counts):
    right, n = counts
    p, z = right / n, 1.959963984540054
    middle, half = (p + z**2 / (2 * n)), z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = interval(right, n)
    assert low == pytest.approx(100 * (middle - half) / (1 + z**2 / n), rel=1e-10, abs=1e-10)
    assert high == pytest.approx(100 * (middle + half) / (1 + z**2 / n), rel=1e-10)
    theirs = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert (low, high) == pytest.approx((100 * theirs.low, 100 * theirs.high))
    assert share("A", "1" * right + "0" * (n - right)).value == pytest.approx(100 * p)


@pytest.mark.parametrize(("n", "p"), [(360, 0.5), (360, 0.97), (360, 0.75), (50, 0.9), (1000, 0.3)])
def test_the_interval_covers_the_truth_as_often_as_it_says(n, p):
    rights = np.random.default_rng(0).binomial(n, p, 2000)
    covered = np.mean([low <= 100 * p <= high for low, high in (interval(int(r), n) for r in rights)])
    assert 0.93 <= covered <= 0.98
