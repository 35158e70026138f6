"""A 95 % interval contains the true value in about 95 of 100 experiments, also near the ends of its scale."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from harness.evaluation.intervals import jackknife, mean_interval, newcombe, wilson

REPEATS = 1000


def rng():
    return np.random.default_rng(0)


def covered(truth, intervals):
    return np.mean([low <= truth <= high for low, high in intervals])


def area(data, outliers):
    """The AUROC: the fraction of pairs in which `data` is higher than `outliers`."""
    return np.searchsorted(np.sort(outliers), data).sum() / (len(data) * len(outliers))


@pytest.mark.parametrize(("truth", "most"), [(0.5, 0.985), (0.7, 0.985), (0.9, 0.985), (0.97, 0.998)])
@pytest.mark.parametrize(("m", "n"), [(360, 200), (100, 400)])
def test_the_interval_of_an_area_covers_that_of_two_normals(truth, most, m, n):
    # For standard normals P(X + d > Y) = Φ(d / √2).
    random, shift = rng(), sqrt(2) * norm.ppf(truth)
    areas = [area(random.normal(shift, 1, m), random.normal(0, 1, n)) for _ in range(REPEATS)]
    assert 0.93 <= covered(truth, [newcombe(found, m, n) for found in areas]) <= most


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 1))
def test_the_interval_of_an_area_holds_it_and_ends_where_it_is_as_unlikely_as_the_level_says(m, n, auc):
    low, high = newcombe(auc, m, n)
    assert 0 <= low <= auc <= high <= 1
    for theta in {low, high} - {0.0, 1.0}:
        inner = 1 + ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        spread = sqrt(theta * (1 - theta) * inner / (m * n))
        assert abs(auc - theta) == pytest.approx(norm.ppf(0.975) * spread, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (360, 200), (50_000, 50_000)])
def test_the_interval_of_a_perfect_area_has_a_width_that_more_images_shorten(m, n):
    (low, one), (zero, high) = newcombe(1.0, m, n), newcombe(0.0, m, n)
    assert (zero, one) == (0, 1)
    assert 0 < 1 - low < 1
    assert high == pytest.approx(1 - low)
    assert newcombe(1.0, 2 * m, 2 * n)[0] > low


@pytest.mark.parametrize(("right", "n"), [(0, 10), (3, 10), (10, 10)])
def test_the_interval_of_a_share_holds_it(right, n):
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    assert high - low > 0.2


@pytest.mark.parametrize("n", [5, 10, 100])
def test_the_interval_of_a_mean_covers_it(n):
    values = rng().normal(3, 2, (REPEATS, n))
    assert 0.93 <= covered(3, [mean_interval(row.mean(), row.std(), n) for row in values]) <= 0.97


def test_the_interval_of_a_mean_is_student_s():
    values = np.array([1.0, 4.0, 2.0, 7.0])
    low, high = mean_interval(values.mean(), values.std(), 4)
    assert (low, high) == pytest.approx(t(3, values.mean(), values.std(ddof=1) / 2).interval(0.95))


@pytest.mark.parametrize(
    ("statistic", "truth"), [(np.mean, 1.0), (lambda x: np.log(x.var()), 0.0), (lambda x: x.mean() / x.std(), 1.0)]
)
def test_the_jackknife_covers_what_a_statistic_tends_to(statistic, truth):
    def interval(values):
        return jackknife(len(values), lambda rows: statistic(values[rows]), statistic(values))

    samples = rng().exponential(1, (REPEATS, 500))
    assert 0.91 <= covered(truth, [interval(values) for values in samples]) <= 0.975


def test_the_jackknife_of_a_mean_is_student_s_of_the_groups_means():
    values = rng().normal(0, 1, 60)
    means = values.reshape(10, 6).mean(1)  # group g holds items 6 g to 6 g + 5
    expected = mean_interval(means.mean(), means.std(), 10)
    assert jackknife(60, lambda rows: values[rows].mean(), values.mean()) == pytest.approx(expected)


def test_the_jackknife_leaves_out_each_item_once():
    left = []
    jackknife(23, lambda rows: left.append(rows) or float(len(rows)), 23.0)
    assert sorted(i for rows in left for i in set(range(23)) - set(rows.tolist())) == list(range(23))
