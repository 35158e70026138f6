"""The curriculum: when and by how much T, the length of the contrastive walk, grows (notes 1.4)."""

from collections import deque
from fractions import Fraction
from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from harness.core.walk import Walk
from harness.methods.atjem import Contrast, Curriculum, area_under_curve


def contrast(curriculum, steps=5):
    return Contrast(Walk(steps=steps, step=0.1), curriculum)


@pytest.mark.parametrize(("batch", "length"), [(128, 8), (512, 2), (1000, 1), (999, 2), (2000, 1), (8, 125)])
def test_the_window_spans_a_thousand_images_rounded_up(batch, length):
    assert Curriculum(auc=0.8).window(batch) == length == ceil(1000 / batch)
    assert len(contrast(Curriculum(auc=0.8)).state(batch)["window"]) == length


# Multiples of 1/64 have exact sums and means, so no comparison depends on rounding.
SIXTYFOURTHS = st.integers(0, 64).map(lambda n: n / 64)


@settings(max_examples=200)
@given(
    st.lists(SIXTYFOURTHS.filter(lambda auc: auc > 0.3), min_size=1, max_size=60),
    SIXTYFOURTHS.filter(lambda auc: 0.3 < auc < 0.8),
    st.sampled_from([125, 250, 500, 1000]),
    st.integers(0, 6),
    st.integers(1, 5),
)
def test_t_follows_an_independent_simulation(aucs, threshold, batch, start, longest):
    curriculum = Curriculum(auc=threshold, start=start)
    state = contrast(curriculum, longest).state(batch)
    t, window = min(start, longest), deque(maxlen=ceil(1000 / batch))
    assert int(state["T"]) == t
    for auc in aucs:
        curriculum.advance(state, auc, longest)
        window.append(Fraction(auc))
        if len(window) == window.maxlen and sum(window) / len(window) >= Fraction(threshold) and t < longest:
            t += 1
            window.clear()
        assert int(state["T"]) == t <= longest


def test_the_window_is_emptied_at_each_change():
    curriculum = Curriculum(auc=0.5)
    state = contrast(curriculum).state(250)
    seen = []
    for _ in range(12):
        curriculum.advance(state, 1.0, 5)
        seen.append(int(state["T"]))
    assert seen == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_old_values_leave_the_window():
    curriculum = Curriculum(auc=0.75)
    state = contrast(curriculum).state(500)
    seen = []
    for auc in (0.0, 1.0, 0.0, 0.5, 1.0):
        curriculum.advance(state, auc, 5)
        seen.append(int(state["T"]))
    assert seen == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("auc", [0.2, 0.4, 0.5, 0.7, 0.75, 0.8])
def test_a_mean_of_exactly_the_threshold_is_enough(auc):
    curriculum = Curriculum(auc=auc)
    state = contrast(curriculum).state(1000)
    curriculum.advance(state, auc, 5)
    assert int(state["T"]) == 1


def test_without_a_curriculum_the_whole_length_is_walked_at_once():
    whole = contrast(None)
    state = whole.state(128)
    assert int(state["T"]) == 5
    for real, contrastive in ((1.0, 0.0), (0.0, 1.0)):
        figures = whole.observe(state, torch.full((4,), real), torch.full((4,), contrastive))
        assert figures == {"T": 5, "auc": real}
        assert int(state["T"]) == 5


def test_observing_reports_the_t_that_was_walked_and_then_advances():
    one = contrast(Curriculum(auc=0.8))
    state = one.state(1000)
    assert one.observe(state, torch.ones(4), torch.zeros(4)) == {"T": 0, "auc": 1.0}
    assert int(state["T"]) == 1
    assert one.observe(state, torch.zeros(4), torch.ones(4)) == {"T": 1, "auc": 0.0}
    assert int(state["T"]) == 1


SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=20)  # few distinct values give many ties


@settings(max_examples=100)
@given(SCORES, SCORES)
def test_the_auc_is_that_of_scikit_learn(positive, negative):
    ours = area_under_curve(torch.tensor(positive), torch.tensor(negative))
    labels = [1] * len(positive) + [0] * len(negative)
    assert ours == pytest.approx(roc_auc_score(labels, positive + negative), abs=1e-12)


def test_the_auc_of_identical_scores_is_a_half():
    scores = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert area_under_curve(scores, scores) == 0.5
    assert area_under_curve(torch.zeros(5), torch.zeros(7)) == 0.5
