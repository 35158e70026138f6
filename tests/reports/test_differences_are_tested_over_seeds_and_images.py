"""Bold numbers are not significantly worse than the best, by tests that err as rarely as they say."""

from dataclasses import replace
from itertools import pairwise, product
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pages import row
from recorded import some_record
from scipy.stats import chi2, friedmanchisquare, norm, ttest_rel

from harness.evaluation.intervals import share
from harness.evaluation.score import Score, Selection
from harness.reports import all_pairs
from harness.reports.section import Section
from harness.reports.series import Series
from harness.reports.significance import MOST, Ranks, blocks, by_score, difference, holm, rank
from harness.runs import record

CLEAN = "clean_accuracy"


def noisy(rng, seeds, images, by_seed, by_image, single, truth=0.0):
    """Paired differences with effects of seeds, of images and of single outcomes, with these standard deviations."""
    effects = by_seed * rng.normal(size=(seeds, 1)) + by_image * rng.normal(size=(1, images))
    return truth + effects + single * rng.normal(size=(seeds, images))


def test_holm_by_hand():
    # Of four: 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04 · 1, which may not be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1] and holm([0.2]) == [0.2] and holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_what_its_steps_reject(ps, level):
    rejected, remaining = set(), sorted(range(len(ps)), key=lambda index: ps[index])
    while remaining and ps[remaining[0]] * len(remaining) < level:
        rejected.add(remaining.pop(0))
    adjusted = holm(ps)
    assert {index for index, p in enumerate(adjusted) if p < level} == rejected
    assert all(p <= q <= 1 for p, q in zip(ps, adjusted, strict=True))


@pytest.mark.parametrize("over", ["seeds", "images"])
def test_the_error_is_that_of_many_resamples(over):
    rng = np.random.default_rng(0)
    values = rng.normal(size=7)
    paired = np.repeat(values[:, None], 40, axis=1) if over == "seeds" else np.repeat(values[None], 5, axis=0)
    drawn = values[rng.integers(7, size=(200_000, 7))].mean(1)
    assert difference(paired).error == pytest.approx(drawn.std() * sqrt(7 / 6), rel=0.01)


def test_a_score_that_is_not_of_images_has_the_paired_t_test():
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=4), rng.normal(1, 1, size=4)
    found, expected = difference((first - second)[:, None]), ttest_rel(first, second)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()))
    assert (found.freedom, found.seeds) == (3, 4)


def test_of_many_seeds_and_images_it_is_the_normal_approximation_with_the_true_variances():
    rng = np.random.default_rng(2)
    found = [difference(noisy(rng, 60, 400, 2.0, 5.0, 20.0, truth=1.0)) for _ in range(200)]
    error = sqrt(2.0**2 / 60 + 5.0**2 / 400 + 20.0**2 / (60 * 400))
    assert np.mean([one.error for one in found]) == pytest.approx(error, rel=0.03)
    assert np.std([one.mean for one in found]) == pytest.approx(error, rel=0.12)
    low, high = np.mean([one.interval for one in found], axis=0)
    assert high - low == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.05)
    assert (low + high) / 2 == pytest.approx(1.0, abs=0.1)
    p = np.mean([one.p for one in found])
    assert p == pytest.approx(np.mean([2 * norm.sf(abs(one.mean) / error) for one in found]), abs=0.02)


@pytest.mark.parametrize("effects", [(3, 0, 0), (0, 3, 0), (0, 0, 3), (1, 10, 10), (2, 5, 20)], ids=str)
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_under_the_null_the_truth_is_missed_as_rarely_as_the_test_says(seeds, effects):
    rng = np.random.default_rng([seeds, *effects])
    found = [difference(noisy(rng, seeds, 80, *effects)) for _ in range(1500)]
    missed = np.mean([one.p < 0.05 for one in found])
    assert 0.002 < missed < 0.07, missed
    assert missed == np.mean([not one.interval[0] <= 0 <= one.interval[1] for one in found])


def test_real_differences_are_found_with_three_seeds():
    rng = np.random.default_rng(4)
    found = [difference(noisy(rng, 3, 360, 0.5, 10, 30, truth=6)).p < 0.05 for _ in range(300)]
    assert np.mean(found) > 0.8


def test_equal_runs_do_not_differ_and_exchange_turns_the_sign():
    rng = np.random.default_rng(5)
    assert difference(np.zeros((3, 9))).p == 1 and difference(np.full((3, 1), 2.0)).p == 0
    paired = rng.normal(size=(3, 9))
    one, other = difference(paired), difference(-paired)
    assert (one.mean, one.error, one.p) == (-other.mean, other.error, other.p)


def outcomes_of(rng, accuracy, n=400):
    return "".join("1" if hit else "0" for hit in rng.random(n) < accuracy)


@pytest.fixture
def rows(tmp_path):
    """A function that makes the rows of methods, given the accuracies of their seeds."""

    def rows(**methods):
        made = []
        for method, accuracies in methods.items():
            for seed, accuracy in accuracies.items():
                text = outcomes_of(np.random.default_rng([seed, len(method)]), accuracy)
                content = some_record(outcomes={"clean": text}).model_dump_json()
                scores = {CLEAN: share("Clean accuracy", text)}
                made.append(row(tmp_path, method, seed, {"record.json": content}, scores=scores, code="c"))
        return made

    return rows


def bold_of(runs):
    (table,) = Section(runs).main()
    return {cells[0].text: cells[2].best for cells in table.rows}, table.note


def test_bold_is_what_is_not_significantly_worse_than_the_best(rows):
    three = range(3)
    runs = rows(
        at=dict.fromkeys(three, 0.90),
        trades=dict.fromkeys(three, 0.895),
        jem=dict.fromkeys(three, 0.60),
        standard={0: 0.70},
        ratio=dict.fromkeys((7, 8, 9), 0.65),
    )
    bold, note = bold_of(runs)
    assert bold == {"AT": True, "TRADES": True, "JEM": False, "Standard": False, "RATIO": False}
    assert "not significantly worse" in note and "Holm" in note and "cannot be tested" in note
    section = Section(runs)
    pairs = {frozenset(pair) for pair in section.comparisons[CLEAN].tests}
    assert pairs == {frozenset(pair) for pair in (("at", "trades"), ("at", "jem"), ("trades", "jem"))}
    assert sorted(all_pairs.untested(section)) == [
        "RATIO: no other method has two seeds in common with it, so nothing can be said.",
        "Standard: with 1 seed done, nothing can be said.",
    ]


@pytest.mark.parametrize("better", [{"standard": {0: 0.99}}, {"ratio": dict.fromkeys((7, 8, 9), 0.97)}])
def test_nothing_is_bold_beside_a_better_value_that_was_not_tested(rows, better):
    three = range(3)
    runs = rows(at=dict.fromkeys(three, 0.90), trades=dict.fromkeys(three, 0.895), **better)
    bold, _ = bold_of(runs)
    assert len(bold) == 3 and not any(bold.values())


def test_holm_counts_all_pairs_of_a_column(rows):
    three = range(3)
    runs = rows(at=dict.fromkeys(three, 0.9), trades=dict.fromkeys(three, 0.85), jem=dict.fromkeys(three, 0.82))
    comparison = Section(runs).comparisons[CLEAN]
    tests = comparison.tests
    expected = holm([test.p for test in tests.values()])
    assert len(tests) == 3
    for (first, second), p in zip(tests, expected, strict=True):
        assert comparison.adjusted[first, second] == comparison.adjusted[second, first] == p


def test_images_are_paired_and_seeds_that_one_alone_has_are_left_out(rows):
    runs = rows(at={0: 0.9, 1: 0.9, 2: 0.9}, trades={1: 0.8, 2: 0.8, 3: 0.8})
    (test,) = Section(runs).comparisons[CLEAN].tests.values()
    assert test.seeds == 2
    texts = {(run.method, run.seed): by_score(record.read(run.find("record.json")).outcomes)[CLEAN] for run in runs}
    bits = {key: 100.0 * np.array([char == "1" for char in text]) for key, text in texts.items()}
    assert test == difference(np.array([bits["at", seed] - bits["trades", seed] for seed in (1, 2)]))


@pytest.mark.parametrize("methods", [{"at": {0: 0.9}}, {"at": {0: 0.9}, "jem": {0: 0.1}}, {"at": {0: 0.9, 1: 0.8}}])
def test_of_single_seeds_and_single_methods_nothing_is_said(rows, methods):
    runs = rows(**methods)
    bold, note = bold_of(runs)
    assert not any(bold.values()) and "Nothing is bold" in note
    assert not list(all_pairs.tables(Section(runs)))


def test_a_method_that_is_not_ranked_is_not_compared(rows):
    runs = rows(at=dict.fromkeys(range(3), 0.9), jem=dict.fromkeys(range(3), 0.5))
    tuned = {"lr": Selection(by="accuracy", split=["test"])}
    section = Section([replace(run, selection=tuned) if run.method == "at" else run for run in runs])
    assert not section.comparisons[CLEAN].tests
    assert "AT: not ranked, and so not compared." in list(all_pairs.untested(section))


def test_pairs_of_more_methods_than_that_are_not_tested(rows, tmp_path):
    scores = {"fd": Score(title="FD", value=1.0, n=9, better="lower")}
    runs = [
        row(tmp_path, "at", seed, {"x": ""}, series=f"s{number}", scores=scores, code="c")
        for number, seed in product(range(MOST + 1), range(2))
    ]
    _, note = bold_of(runs)
    assert f"more than {MOST} methods" in note
    assert [f"more than {MOST} methods" in line for line in all_pairs.untested(Section(runs))] == [True]


def test_methods_of_a_single_seed_are_not_counted_as_too_many(tmp_path):
    scores = {"fd": Score(title="FD", value=1.0, n=9, better="lower")}
    runs = [
        row(tmp_path, "at", seed, {"x": ""}, series=f"s{number}", scores=scores, code="c")
        for number in range(MOST + 1)
        for seed in range(2 if number < 2 else 1)
    ]
    section = Section(runs)
    assert len(section.comparisons["fd"].tests) == 1
    assert all("with 1 seed done" in line for line in all_pairs.untested(section))
    alone = Section([run for run in runs if run.seed == 0])
    assert "two seeds in common" in bold_of(alone.runs)[1]


def test_ranks_by_hand_where_ties_share_theirs():
    values = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.5, 0.5, 0.1], [3, 4, 4, 4]])
    assert rank(values).means == pytest.approx([(1 + 2 + 4) / 3, (2 + 2 + 2) / 3, (3 + 2 + 2) / 3, (4 + 4 + 2) / 3])
    assert rank(values).p == pytest.approx(friedmanchisquare(*values.T).pvalue)
    assert rank(np.ones((4, 3))).p == 1


@pytest.mark.parametrize(("k", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_demsars_table(k, q):
    # q is from his Table 5 (a); his example has 14 data sets and four classifiers, which gives 1.25.
    found = rank(np.random.default_rng(k).normal(size=(14, k)))
    assert found.blocks == 14 and found.distance == pytest.approx(q * sqrt(k * (k + 1) / (6 * 14)), rel=5e-4)


def test_friedman_by_hand_without_ties():
    rng = np.random.default_rng(6)
    values = rng.normal(size=(9, 5)) + np.arange(5)
    ranks = np.array([[1 + (block > value).sum() for value in block] for block in values])
    chi = 12 * 9 / (5 * 6) * ((ranks.mean(0) ** 2).sum() - 5 * 6**2 / 4)
    assert rank(values).p == pytest.approx(chi2.sf(chi, 4)) and rank(values).means == pytest.approx(ranks.mean(0))


def test_a_group_spans_what_lies_within_the_critical_difference():
    ranks = Ranks([1.0, 2.0, 3.5, 5.0], blocks=9, p=0.01, distance=1.6)
    assert ranks.groups == [(1.0, 2.0), (2.0, 3.5), (3.5, 5.0)]
    assert replace(ranks, distance=0.5).groups == []
    assert replace(ranks, distance=9).groups == [(1.0, 5.0)]
    assert replace(ranks, p=0.3, distance=0.5).groups == [(1.0, 5.0)], "Friedman's test finds no difference"


def test_blocks_are_scores_of_seeds_and_turned_so_that_higher_is_better(tmp_path):
    def scores(value):
        up = Score(title="A", value=value, n=9, better="higher")
        return {"a": up, "fd": up.model_copy(update={"title": "FD", "value": 10 - value, "better": "lower"})}

    series = [
        Series([row(tmp_path, method, seed, scores=scores(place + seed), code="c") for seed in seeds])
        for place, (method, seeds) in enumerate({"at": (0, 1, 2), "jem": (1, 2), "ratio": (2, 1), "x": (1,)}.items())
    ]
    ranked, keys, values = blocks(series, scores(0))
    assert [one.key for one in ranked] == ["at", "jem", "ratio"] and keys == ["a", "fd"]
    assert values.shape == (4, 3)
    assert all(first < second for block in values for first, second in pairwise(block))
    assert rank(values).means == [3, 2, 1]
    assert blocks([], {})[2].size == 0
