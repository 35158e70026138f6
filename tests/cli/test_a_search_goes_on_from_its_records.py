"""The verb search, with a pretended training: it resumes, halves over rungs, and its log says how it chose."""

import shlex
import sys
from itertools import pairwise
from math import log10

import pytest
import yaml
from recorded import some_record, some_score

from harness.runs import record
from harness.runs.folder import OVER

RATE = "method.classify.training.lr"
SEARCH = f"""
objective: {{accuracy: 1.0}}
fields:
  {RATE}: {{times: [0.01, 10]}}
  method.sampler.step: {{choice: ["${{{RATE}}}"]}}
"""


@pytest.fixture
def search(type_, tmp_path, monkeypatch):
    """A function that types a search whose runs are over at once, `most` of them; it returns what was typed and run."""
    (tmp_path / "rate.yaml").write_text(SEARCH)

    def search(words, most=1000):
        made = []

        def pretend(runs):
            for run in runs:
                if run.state not in OVER and len(made) < most:
                    lr = run.config.method["classify"]["training"]["lr"]
                    accuracy = 80 - 100 * run.config.budget - 10 * abs(log10(lr / 0.005))  # a larger budget harms
                    scores = {"clean_accuracy": some_score(value=accuracy, low=0, high=100)}
                    run.folder.mkdir(parents=True)
                    state = {"state": "diverged", "scores": {}} if lr > 0.3 else {"scores": scores}
                    record.write(run.folder / "record.json", some_record(fingerprint=run.fingerprint, **state))
                    made.append(run.name)
            return 0

        monkeypatch.setattr("harness.cli.search.run_all", pretend)
        typed = type_("search", "method=standard", "search=rate.yaml", "tracking=off", *shlex.split(words))
        return *typed, made

    return search


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "reports" / "searches" / "rate_digits.yaml"
    return lambda: yaml.safe_load(path.read_text()) if path.exists() else None


def test_an_interrupted_search_ends_as_one_that_was_not(search, log):
    words = "sampler=tpe trials=12 launcher=processes launcher.parallel=5"
    status, _, err, whole = search(f"{words} runs=whole")
    assert status == 0, err
    uninterrupted = log()
    assert len(whole) == 12 and any(trial["state"] == "diverged" for trial in uninterrupted["trials"])
    assert (uninterrupted["sampler"], uninterrupted["batch"], uninterrupted["seed of values"]) == ("tpe", 5, 0)

    # Interrupt another in its second batch.
    first, second = search(f"{words} runs=parts", 7), search(f"{words} runs=parts")
    assert "The same command continues" in first[1] and second[0] == 0
    assert first[3] + second[3] == whole
    assert log() == uninterrupted


def test_the_last_rung_decides_and_the_log_lists_all(search, log):
    status, text, err, made = search("trials=6 rungs=0.05,0.1,0.2 keep=0.7")
    assert status == 0, err
    found = log()
    assert (found["rungs"], found["keep"], found["sampler"]) == ([0.05, 0.1, 0.2], 0.7, "random")
    assert len(found["trials"]) == 6

    # Each run of each rung is in the log: the largest budget of a trial in its line, and smaller ones under `earlier`.
    outcomes = [{"trial": number, **line} for number, trial in enumerate(found["trials"])
                for line in [trial, *trial.get("earlier", [])]]  # fmt: skip
    assert sorted(line["run"] for line in outcomes) == sorted(made)
    rungs = [[line for line in outcomes if line["budget"] == budget] for budget in found["rungs"]]
    assert [len(rung) for rung in rungs] == [6, 4, 2]
    for rung, following in pairwise(rungs):
        best = sorted((line for line in rung if "objective" in line), key=lambda line: -line["objective"])
        assert {line["trial"] for line in following} == {line["trial"] for line in best[: len(following)]}
    assert found["chosen"] == max(rungs[-1], key=lambda line: line["objective"])["trial"]

    # The printed lines name the log, and are of the chosen trial.
    lines = yaml.safe_load(text[text.index("\nmethod:") :])
    chosen = found["trials"][found["chosen"]]["values"]
    assert lines["method"]["classify"]["training"]["lr"] == chosen[RATE] == chosen["method.sampler.step"]
    (choice,) = lines["selection"].values()
    assert "search of 6 trials at budget 0.05, 0.1, 0.2" in choice["by"] and "rate_digits.yaml" in choice["by"]


def test_without_optuna_tpe_says_what_to_install(search, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    status, _, err, made = search("sampler=tpe")
    assert status == 2 and "pip install optuna" in err and not made and not (tmp_path / "runs").exists()
    assert search("trials=1")[0] == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("rungs=0.1,0.2 budget=0.1", "leave out budget="),
        ("rungs=0.2,0.1", "rungs must be"),
        ("rungs=a", "rungs"),
        ("rungs=0.1,0.2 keep=2", "keep must be"),
        ("sampler=grid", "sampler"),
        ("sampler=tpe batch=0", "batch must be"),
    ],
)
def test_wrong_words_are_explained(words, hint, search):
    status, _, err, made = search(words)
    assert status == 2 and hint in err and not made
