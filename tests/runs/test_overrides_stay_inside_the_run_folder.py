"""No override and no foreign config makes a run write outside its folder: names are names, not paths."""

import pytest

import harness
from harness.core.errors import UserError
from harness.evaluation.evaluator import metrics

ESCAPING = [
    "+protocol.metrics={../../evil: {metric: accuracy, split: test}}",
    "+protocol.metrics={/tmp/evil: {metric: accuracy, split: test}}",
    "+protocol.metrics={a/b: {metric: accuracy, split: test}}",
    "method.name=../../evil",
    "method.name=at/../../../evil",
    "data.name=../../evil",
    "data.name=digits/../evil",
    "outliers.name=../evil",
    "model.name=../evil",
    "seed=../evil",
]


@pytest.mark.parametrize("override", ESCAPING)
def test_a_path_in_place_of_a_name_is_refused_before_anything_is_written(override, tmp_path):
    with pytest.raises(UserError):
        harness.plan("method=at", f"runs={tmp_path / 'runs'}", override)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entry", ["../../evil", "/evil", "..", "a/b", ".hidden"])
def test_a_frozen_config_of_others_is_refused_too(entry):
    with pytest.raises(UserError, match="cannot name a file or folder"):
        metrics({"metrics": {entry: {"metric": "accuracy", "split": "test"}}})
    assert list(metrics({"metrics": {"l2-0.5": {"metric": "accuracy", "split": "test"}}})) == ["l2-0.5"]
