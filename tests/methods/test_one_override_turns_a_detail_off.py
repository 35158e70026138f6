"""One override turns off each detail of AT-JEM; the run records it and gets another fingerprint."""

import pytest

import harness
from harness.core.errors import UserError
from harness.core.registry import names
from harness.core.settings import flatten
from harness.runs.compose import compose
from harness.runs.run import Run

DETAILS = {
    "bce": "method.joint.bce=0",
    "bce for the maximum-likelihood gradient": "method.joint.energy=mle",
    "adversarial cross-entropy": "method.joint.ce=0",
    "curriculum": "method.joint.contrast.curriculum=null",
    "frozen normalisation": "method.joint.training.freeze_norm=false",
    "labels of the outliers": "method.joint.contrast.labels=random",
    "first stage": "method.robust=null",
}


@pytest.mark.parametrize("detail", DETAILS)
def test_it_is_one_override_and_is_recorded(detail):
    (run,) = harness.plan(DETAILS[detail])
    (recipe,) = harness.plan()
    assert [o.lower() for o in run.config.overrides] == [DETAILS[detail]]
    assert run.stage_runs[-1].fingerprint != recipe.stage_runs[-1].fingerprint


def test_choices_and_seeds_are_not_overrides_of_a_recipe():
    (run,) = harness.plan("method=at", "data=digits", "seed=3", "runs=elsewhere", "protocol=digits")
    assert run.config.overrides == []


def test_an_ablation_of_another_method_is_refused_by_its_name():
    with pytest.raises(UserError, match=r"method\.joint: there is no such field.*leave out ablation=r1"):
        harness.plan("method=jem", "ablation=r1")


CHANGED = {
    "combined": {"method.joint.r1", "method.joint.contrast.curriculum", "method.joint.training.freeze_norm"},
    "mle": {"method.joint.energy"},
    "no_ce": {"method.joint.ce"},
    "no_curriculum": {"method.joint.contrast.curriculum"},
    "no_freezing": {"method.joint.training.freeze_norm"},
    "noise": {"outliers"},
    "one_augmentation": {"data.real"},
    "r1": {"method.joint.r1"},
    "scratch": {"method.robust", "method.joint.training.freeze_norm"},
    "unpaired": {"method.joint.contrast.labels"},
}
"""The parts of AT-JEM's config that each ablation changes."""


def parts(config):
    return dict(flatten({part: getattr(config, part) for part in ("method", "data", "model", "outliers", "protocol")}))


@pytest.mark.parametrize("ablation", sorted(names("ablation").keys() - {"none"}))
def test_an_ablation_changes_its_part_alone_and_is_recorded(ablation):
    whole, ablated = (compose([f"ablation={name}", "method=atjem", "data=cifar10"])[0] for name in ("none", ablation))
    before, after = parts(whole), parts(ablated)
    missing = object()
    changed = {key for key in before | after if before.get(key, missing) != after.get(key, missing)}
    assert changed and all(any(f"{key}.".startswith(f"{part}.") for part in CHANGED[ablation]) for key in changed)
    assert all(any(f"{key}.".startswith(f"{part}.") for key in changed) for part in CHANGED[ablation])
    assert (whole.overrides, ablated.overrides) == ([], [f"ablation={ablation}"])
    assert Run(ablated).series != Run(whole).series
