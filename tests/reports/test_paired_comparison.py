"""Two runs are compared image by image, with the statistical test for pairs, or the comparison is refused."""

import subprocess
import sys
from functools import partial
from math import comb

import numpy as np
import pytest
from recorded import some_record, some_score

from harness.core.errors import UserError
from harness.evaluation.intervals import share
from harness.evaluation.score import Score
from harness.reports.compare import Pair, doubts, kinship, pairs
from harness.runs import record
from harness.runs.record import ProtocolTag

ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
FD = Score(title="FD", value=0.75, low=0.5, high=1.0, n=500, better="lower")


def pair(both=0, first=0, second=0, neither=0):
    """A pair of runs with given numbers of images of each kind."""
    kinds = [(1, 1)] * both + [(1, 0)] * first + [(0, 1)] * second + [(0, 0)] * neither
    a, b = np.array(kinds, dtype=np.int8).T
    return Pair("Clean accuracy", a, b)


def judged(clean="1101", robust="1001", **changed):
    """A record with outcomes of clean images and of four attacks, the last of which counts."""
    attacks = {f"l2_0.5/{name}": "1111" for name in ATTACKS[:-1]} | {f"l2_0.5/{ATTACKS[-1]}": robust}
    threat = some_score(title="Robust accuracy (L2 0.5)", value=50)
    detail = FD.model_copy(update={"title": "AUROC", "table": "OOD detection"})
    scores = {"clean_accuracy": some_score(), "robust_accuracy/l2_0.5": threat, "fd": FD, "ood": detail}
    return some_record(**{"outcomes": {"clean": clean, **attacks}, "scores": scores, **changed})


@pytest.mark.parametrize(("first", "second"), [(7, 2), (2, 7), (1, 0), (5, 5), (30, 12), (0, 9)])
def test_p_is_the_two_tails_of_fair_coins(first, second):
    n = first + second
    tail = sum(comb(n, k) for k in range(min(first, second) + 1)) / 2**n
    found = pair(40, first, second, 3)
    assert found.p == pytest.approx(min(1, 2 * tail), rel=1e-12)
    assert found.p == pytest.approx(pair(0, first, second, 500).p), "images that both get right or wrong must not count"


@pytest.mark.parametrize(("first", "second"), [(3000, 2800), (560, 500)])
def test_p_of_many_is_that_of_the_normal_approximation(first, second):
    from scipy.stats import chi2

    approximate = chi2.sf((abs(first - second) - 1) ** 2 / (first + second), 1)
    assert pair(100, first, second).p == pytest.approx(approximate, rel=0.1)


def test_a_run_does_not_differ_from_itself():
    same = pair(30, 0, 0, 10)
    assert (same.difference, same.interval, same.only, same.p) == (0, (0, 0), (0, 0), 1)
    assert same.shares == (75, 75)


def test_exchange_turns_the_sign_and_nothing_else():
    ab = pair(50, 9, 3, 10)
    ba = Pair(ab.title, ab.second, ab.first)
    assert ba.p == ab.p and ba.only == ab.only[::-1] == (3, 9) and ba.shares == ab.shares[::-1]
    assert ba.difference == -ab.difference and ab.difference == pytest.approx(100 * 6 / 72)
    assert ba.interval == pytest.approx([-bound for bound in ab.interval[::-1]])


def test_the_interval_covers_the_true_difference_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr("harness.reports.compare.RESAMPLES", 499)
    draws = np.random.default_rng(1)
    kinds = draws.choice(4, size=(300, 300), p=[0.55, 0.2, 0.1, 0.15])
    found = [Pair("", (k < 2).astype(np.int8), np.isin(k, (0, 2)).astype(np.int8)).interval for k in kinds]
    covered = np.mean([low <= 10 <= high for low, high in found])
    assert 0.91 <= covered <= 0.98, covered
    width = np.mean([high - low for low, high in found])
    sd = 100 * np.sqrt((0.3 - 0.1**2) / 300)
    assert width == pytest.approx(2 * 1.96 * sd, rel=0.05), "for pairs, narrower than for two samples"


def test_fifty_thousand_images_fit_into_memory(monkeypatch):
    import tracemalloc

    monkeypatch.setattr("harness.reports.compare.RESAMPLES", 200)
    many = pair(30_000, 5_000, 4_000, 11_000)
    tracemalloc.start()
    low, high = many.interval
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < 2 < high and peak < 100e6, f"{peak / 1e6:.0f} MB"


def test_outcomes_that_only_together_make_a_score_are_no_row():
    outcomes = judged().outcomes | {"corrupted/fog/1": "1011", "corrupted/fog/2": "1001"}
    assert pairs(judged(outcomes=outcomes), judged(outcomes=outcomes)).keys() == pairs(judged(), judged()).keys()


def test_of_a_threat_the_last_attack_counts():
    found = pairs(judged(robust="1001"), judged(robust="0001"))
    assert list(found) == ["clean_accuracy", "robust_accuracy/l2_0.5"]
    assert found["robust_accuracy/l2_0.5"].only == (1, 0)
    assert found["robust_accuracy/l2_0.5"].title == "Robust accuracy (L2 0.5)"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"data": "cifar10"}, "data digits and cifar10"),
        ({"protocol": ProtocolTag(id="digits-1", hash="1")}, r"protocol digits-1 \(hash 0\) and digits-1 \(hash 1\)"),
        ({"protocol": ProtocolTag(id="digits-2", hash="0")}, r"protocol digits-1 \(hash 0\) and digits-2 \(hash 0\)"),
        ({"outcomes": {"clean": "11"}}, "4 and 2 images of clean"),
    ],
)
def test_what_does_not_compare_is_refused_with_what_differs(changed, named):
    with pytest.raises(UserError, match=named) as told:
        pairs(judged(), judged(**changed))
    assert ";" not in str(told.value).partition("Compare")[0], "no other difference may be reported"


def test_a_label_does_not_part_two_runs_of_one_protocol():
    assert pairs(judged(), judged(protocol=ProtocolTag(id="digits-1", hash="0", label="for trying out")))


def test_what_two_runs_have_in_common_is_told():
    first = judged()
    assert "the same run" in kinship(first, judged())
    assert "seeds alone" in kinship(first, judged(fingerprint="g", seed=1))
    other = {"fingerprint": "g", "series": "t"}
    assert kinship(first, judged(**other, overrides=["method.robust.attack.eps=1"])) == ""
    assert "test images" in kinship(first, judged(**other, overrides=["+data.split_seed=1"]))


def test_a_reason_to_doubt_is_told_once():
    doubtful = judged(scores={key: FD.model_copy(update={"title": key, "warnings": ["weights"]}) for key in ("a", "b")})
    assert doubts(doubtful, judged()) == ["Doubtful: a of A, b of A: weights"]


@pytest.fixture
def place(tmp_path):
    """A folder of runs: two comparable ones, one under another protocol, one that diverged, and one just started."""
    quick = ProtocolTag(id="quick", hash="0", label="for trying out")
    found = {
        "at-digits-s0-aaaaaaaa": judged("1" * 40, "1001" * 10, protocol=quick, fingerprint="a"),
        "jem-digits-s0-bbbbbbbb": judged(
            "1" * 40, "0001" * 10, protocol=quick, series="t", overrides=["model.width=[4]"]
        ),
        "jem-digits-s1-cccccccc": judged(),
        "jem-digits-s2-dddddddd": judged(state="diverged", reason="loss nan"),
    }
    for name, content in found.items():
        record.write(tmp_path / "runs" / name / "record.json", content)
        (tmp_path / "runs" / name / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "runs" / "jem-digits-s3-eeeeeeee").mkdir()
    (tmp_path / "runs" / "jem-digits-s3-eeeeeeee" / "config.yaml").write_text("seed: 3\n")
    return tmp_path


def test_the_command_compares_a_path_with_a_name(place, type_):
    status, out, err = type_("compare", "runs/at-digits-s0-aaaaaaaa", "jem-digits-s0-bbbbbbbb")
    assert status == 0, err
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]]
        for line in out.splitlines()
        if len(cells := line.split("│")) > 2
    }
    assert rows["Clean accuracy"] == ["100.00 %", "100.00 %", "+0.00 [+0.00, +0.00]", "0", "0", "1", "40"]
    robust = rows["Robust accuracy (L2 0.5)"]
    assert (
        robust[:2] == ["50.00 %", "25.00 %"]
        and robust[2].startswith("+25.00 [+")
        and robust[3:] == ["10", "0", "0.002", "40"]
    )
    assert rows["FD"] == ["0.750 [0.500, 1.000]"] * 2 + ["–"] * 4 + ["500"]
    assert "AUROC" not in out, "details are left to the leaderboard"
    assert "protocol quick (hash 0): for trying out" in out
    assert "A: at-digits-s0-aaaaaaaa\nB: jem-digits-s0-bbbbbbbb model.width=[4]\n" in out
    assert "not paired" in out and "McNemar" in out and "Bonferroni" in out and "the same run" not in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("compare jem-digits-s1-cccccccc", "takes 2 words and was given 1"),
        ("compare a b c", "takes 2 words and was given 3"),
        ("compare jem-digits-s1-ccccccc jem-digits-s1-cccccccc", "Did you mean jem-digits-s1-cccccccc"),
        ("compare jem-digits-s1-cccccccc runs", "no run 'runs'"),
        ("compare a b runs=nowhere", "neither at that path nor below nowhere"),
        ("compare jem-digits-s1-cccccccc jem-digits-s2-dddddddd", "jem-digits-s2-dddddddd is diverged"),
        ("compare jem-digits-s3-eeeeeeee jem-digits-s2-dddddddd", "jem-digits-s3-eeeeeeee is queued"),
        ("compare jem-digits-s1-cccccccc at-digits-s0-aaaaaaaa", "digits-1 (hash 0) and quick (hash 0)"),
        ("compare jem-digits-s1-cccccccc at-digits-s0-aaaaaaaa -m seed=0,1", "leave out -m"),
    ],
)
def test_what_cannot_be_compared_is_explained(place, type_, words, told):
    status, out, err = type_(*words.split())
    assert status == 2 and told in err and "Traceback" not in out + err


def test_without_words_all_methods_are_compared_and_the_rest_is_explained(tmp_path, type_):
    record_of = partial(judged, "1" * 36 + "0" * 4)
    for seed in (0, 1, 2):
        for method, robust in (("at", "1" * 30 + "0" * 10), ("jem", "1" * 10 + "0" * 30), ("trades", "0110" * 10)):
            if (method, seed) not in (("trades", 1), ("trades", 2)):
                text = robust[seed:] + robust[:seed]
                content = record_of(text, method=method, series=method, seed=seed, fingerprint=f"{method}{seed}")
                write = {key: share(score.title, text) for key, score in content.scores.items() if "robust" in key}
                content = content.model_copy(update={"scores": {**content.scores, **write}})
                folder = tmp_path / "runs" / f"{method}-digits-s{seed}-{method}{seed}"
                record.write(folder / "record.json", content)
                (folder / "config.yaml").write_text("seed: 0\n")
    status, out, err = type_("compare")
    assert status == 0, err
    assert "Robust accuracy (L2 0.5), % (higher is better)" in " ".join(out.split())
    rows = [[cell.strip() for cell in line.split("│")] for line in out.splitlines() if line.startswith("│")]
    at_jem = [row for row in rows if {"AT", "JEM"} <= {*row} and row[3].startswith("+50.00 [")]
    assert len(at_jem) == 1 and at_jem[0][5].endswith("*") and at_jem[0][6] == "3"
    assert "TRADES: with 1 seed done, nothing can be said." in out and "Holm" in out
    assert not any("TRADES" in row for row in rows)


def test_a_comparison_needs_no_torch(place):
    code = (
        "import sys; from harness.cli.main import main\n"
        "sys.argv[1:] = ['compare', 'at-digits-s0-aaaaaaaa', 'jem-digits-s0-bbbbbbbb']\n"
        "try: main()\n"
        "except SystemExit as end: print('STATUS', end.code)\n"
        "print('HEAVY', sorted({'torch', 'mlflow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=place, text=True, capture_output=True)
    assert "STATUS 0\nHEAVY []" in done.stdout, done.stdout + done.stderr
