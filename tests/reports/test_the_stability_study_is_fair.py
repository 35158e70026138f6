"""Methods of the stability study start from their recipes, change only by its factors, and get equal budgets."""

from functools import cache
from math import ceil
from statistics import fmean
from typing import Any

import pytest

import harness
from harness.runs.run import Run

STEPS = {
    "jem": {"energy.chains.walk.step"},
    "jempp": {"energy.chains.walk.step"},
    "sadajem": {"energy.chains.walk.step"},
    "atjem": {"joint.contrast.walk.step"},
}
RATES = {
    "jem": {"energy.training.lr"},
    "jempp": {"energy.training.lr"},
    "sadajem": {"energy.training.lr"},
    "atjem": {"robust.training.lr", "joint.training.lr"},
}
BUDGET = {"epochs", "warmup", "milestones", "bound"}


@cache
def planned(method: str) -> dict[tuple[float, float], Run]:
    """The runs of a method, by step and rate."""
    runs = harness.plan("experiment=digits_stability", f"method={method}", "study.step=1,2", "study.rate=1,3", "seed=0")
    return {(run.config.study["step"], run.config.study["rate"]): run for run in runs}


def flat(content: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {name: content}
    return {k: v for key, value in content.items() for k, v in flat(value, f"{name}.{key}".lstrip(".")).items()}


def changes(before: Run, after: Run) -> dict[str, tuple[Any, Any]]:
    """The differences between the method configs of two runs, by name."""
    old, new = flat(before.config.method), flat(after.config.method)
    assert old.keys() == new.keys()
    return {key: (old[key], new[key]) for key in old if old[key] != new[key]}


@pytest.mark.parametrize("method", STEPS)
def test_factor_1_is_the_recipe_cut_short(method: str):
    (recipe,) = harness.plan(f"method={method}", "data=digits")
    study = planned(method)[1, 1]
    assert study.config.model == recipe.config.model
    changed = changes(recipe, study)
    assert {key.rpartition(".")[2] for key in changed} <= BUDGET
    for name, stage in recipe.method.stages.items():
        whole, cut = stage.training, study.method.stages[name].training
        share = cut.epochs / whole.epochs
        assert share <= 1
        assert cut.warmup == pytest.approx(share * whole.warmup, rel=0.1)
        if whole.schedule == "step":
            assert cut.milestones == pytest.approx([share * milestone for milestone in whole.milestones], rel=0.1)


@pytest.mark.parametrize("method", STEPS)
def test_factors_scale_steps_and_rates_alone(method: str):
    runs = planned(method)
    for run, factor, scaled in ((runs[2, 1], 2, STEPS), (runs[1, 3], 3, RATES)):
        changed = changes(runs[1, 1], run)
        assert changed.keys() == scaled[method]
        assert all(new == pytest.approx(factor * old) for old, new in changed.values())


def test_one_bound_tells_which_runs_diverged():
    assert len({stage.training.bound for m in STEPS for stage in planned(m)[1, 1].method.stages.values()}) == 1


def passes(run: Run) -> float:
    """Network passes per labelled image; forward plus backward is one pass, in a walk as in training."""
    images, total = len(run.data.labels("train")), 0.0
    for stage in run.method.stages.values():
        how: Any = stage
        each, others = how.training.epochs, how.training.size("real") / how.training.batch
        if hasattr(how, "chains"):
            twice = 2 if how.training.sharpness else 1
            total += each * (others * (how.chains.walk.steps + 2 * twice) + twice)
        elif hasattr(how, "contrast"):
            window = ceil(how.contrast.curriculum.images / how.training.batch)
            steps = range(how.training.steps(images))
            longest = fmean(min(step // window, how.contrast.walk.steps) for step in steps)
            total += each * (how.attack.steps + 1 + others * (longest + 2))
        else:
            total += each * (how.attack.steps + 1)
    return total


def test_budgets_are_equal():
    found = {method: passes(planned(method)[1, 1]) for method in STEPS}
    assert max(found.values()) < 1.02 * min(found.values()), found
