"""One override turns off each detail of AT-JEM; the run records it and gets another fingerprint."""

import pytest

import harness

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
