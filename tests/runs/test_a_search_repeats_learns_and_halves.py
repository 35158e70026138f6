"""A search draws what it always drew, learns from objectives where asked, and gives the best trials more budget."""

from itertools import chain, pairwise
from math import log10
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from harness.core.errors import UserError
from harness.core.registry import make
from harness.runs.search import Range, Search

ROOT = Path(__file__).parents[2]
LOGS = sorted((ROOT / "docs" / "fashion_mnist" / "searches").glob("*.yaml"))
OWN = {"lr": 0.05, "steps": 10, "decay": 0.01, "sigma": 0.03, "step": 0.1}
FIELDS = {
    "lr": Range(times=(0.02, 5)),
    "steps": Range(log=(5, 40)),
    "decay": Range(uniform=(0.0, 0.1)),
    "sigma": Range(choice=(0.0, 0.0333333, 0.1)),
    "step": Range(choice=("${lr}",)),
}


def config(values):
    """What a search reads of a config."""
    return SimpleNamespace(mapping=lambda: values, method={"name": "jem"}, data={"name": "digits"})


def fake(trial):
    """An objective that is best at a rate of 0.01 and grows with the budget; a rate above 0.2 diverges."""
    lr = trial.values.get("lr", OWN["lr"])
    return None if lr > 0.2 else 10 * trial.budget - abs(log10(lr / 0.01))


def run(search, own=OWN, objective=fake):
    """All trials of a search, in rounds, each with its objective."""
    rounds = []
    for trials in search.rounds(config(own)):
        for trial in trials:
            trial.objective = objective(trial)
        rounds.append(trials)
    return rounds


@pytest.mark.parametrize("path", LOGS, ids=[path.stem for path in LOGS])
def test_random_draws_the_values_of_the_committed_logs(path):
    log = yaml.safe_load(path.read_text())
    content = yaml.safe_load((ROOT / "configs" / "search" / f"{log['method']}.yaml").read_text())
    search = make(Search, log["method"], content | {"trials": len(log["trials"])})
    assert (search.seed, search.sampler, search.budgets) == (log["seed of values"], "random", (log["budget"],))
    own = log["trials"][0]["values"]
    (trials,) = run(search, own)
    assert trials[0].values == {}
    for trial, line in zip(trials[1:], log["trials"][1:], strict=True):
        # An interpolation has the value of the field that it names.
        values = {key: trial.values.get(str(value)[2:-1], value) for key, value in trial.values.items()}
        assert values == line["values"]


def test_tpe_draws_values_of_the_ranges():
    for (trial,) in run(Search(FIELDS, trials=25, sampler="tpe"))[1:]:
        values = trial.values
        assert 0.001 <= values["lr"] <= 0.25 and float(f"{values['lr']:.3g}") == values["lr"]
        assert values["steps"] in range(5, 41) and isinstance(values["steps"], int)
        assert 0 <= values["decay"] <= 0.1 and values["sigma"] in FIELDS["sigma"].choice
        assert values["step"] == "${lr}" and values.keys() == FIELDS.keys()


def test_tpe_learns_from_the_objectives():
    def distance(sampler):
        searches = [Search(FIELDS, trials=40, sampler=sampler, seed=seed) for seed in range(3)]
        rates = [trial.values["lr"] for search in searches for trial in [*chain(*run(search))][20:]]
        return sum(abs(log10(rate / 0.01)) for rate in rates) / len(rates)

    assert distance("tpe") < 0.7 * distance("random")


@pytest.mark.parametrize("batch", [1, 4])
def test_equal_objectives_give_equal_values(batch):
    search = Search(FIELDS, trials=18, sampler="tpe", batch=batch)
    whole = run(search)
    assert [len(trials) for trials in whole] == [batch] * (18 // batch) + [18 % batch] * (18 % batch > 0)
    assert run(search) == whole
    # More trials add to these; another seed, or other objectives, give others.
    more = run(Search(FIELDS, trials=22, sampler="tpe", batch=batch))
    assert [*chain(*more)][:18] == [*chain(*whole)]
    assert run(Search(FIELDS, trials=18, sampler="tpe", batch=batch, seed=1)) != whole
    assert run(search, objective=lambda trial: -trial.number)[-1][0].values != whole[-1][0].values


def test_own_values_outside_of_the_ranges_and_trials_without_scores_are_no_obstacle():
    outside = OWN | {"steps": 100, "sigma": "other"}
    assert len(run(Search(FIELDS, trials=12, sampler="tpe"), outside)) == 12
    assert len(run(Search(FIELDS, trials=12, sampler="tpe"), objective=lambda trial: None)) == 12


def test_the_better_half_goes_on_to_the_next_rung():
    rungs = run(Search(FIELDS, trials=9, rungs=(0.05, 0.1, 0.2)))
    assert [(len(rung), {trial.budget for trial in rung}) for rung in rungs] == [(9, {0.05}), (4, {0.1}), (2, {0.2})]
    for rung, following in pairwise(rungs):
        best = sorted((trial for trial in rung if trial.objective is not None), key=lambda trial: -trial.objective)
        numbers = [trial.number for trial in following]
        assert sorted(numbers) == numbers == sorted(trial.number for trial in best[: len(following)])
        values = {trial.number: trial.values for trial in rung}
        assert all(trial.values == values[trial.number] for trial in following)


@pytest.mark.parametrize(("keep", "sizes"), [(0.1, [30, 3, 1]), (0.29, [30, 8, 2]), (0.7, [30, 21, 14])])
def test_keep_says_how_many_go_on(keep, sizes):
    rungs = run(Search(FIELDS, trials=30, rungs=(0.1, 0.2, 0.4), keep=keep), objective=lambda trial: 1.0)
    assert [len(rung) for rung in rungs] == sizes
    assert [trial.number for trial in rungs[-1]] == [*range(sizes[-1])]  # of equal ones the earlier


def test_trials_without_scores_do_not_go_on():
    def odd(trial):
        return 1.0 if trial.number == 5 else None

    search = Search(FIELDS, trials=8, rungs=(0.1, 0.2, 0.4))
    assert [[trial.number for trial in rung] for rung in run(search, objective=odd)[1:]] == [[5], [5]]
    assert len(run(search, objective=lambda trial: None)) == 1


def test_tpe_learns_at_the_first_rung():
    rounds = run(Search(FIELDS, trials=12, sampler="tpe", batch=5, rungs=(0.1, 0.2)))
    assert [(len(trials), trials[0].budget) for trials in rounds] == [(5, 0.1), (5, 0.1), (2, 0.1), (6, 0.2)]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"rungs": [0.2, 0.1]}, "rungs must be"),
        ({"rungs": [0, 0.1]}, "rungs must be"),
        ({"keep": 1.0}, "keep must be"),
        ({"batch": 0}, "batch must be"),
        ({"sampler": "grid"}, "sampler"),
    ],
)
def test_wrong_settings_are_refused(wrong, hint):
    with pytest.raises(UserError, match=rf"x\.yaml.*{hint}"):
        make(Search, "x.yaml", {"fields": {"lr": {"log": [1, 2]}}, **wrong})
