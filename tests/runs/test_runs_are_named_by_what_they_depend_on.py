"""Fingerprints: only what changes a number changes a run's name; runs share equal stages."""

from pathlib import Path

import pytest
from untrained import UNTRAINED

import harness
from harness.core.errors import UserError
from harness.core.registry import names


def run(*overrides):
    (found,) = harness.plan(*overrides)
    return found


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "method.joint.bce=0",
        "method.joint.training.lr=0.123",
        "model.width=8",
        "outliers=patches",
        "data.pad=0",
        "protocol.metrics.robustness.eps=1",
        "method.sampler.steps=3",
    ],
)
def test_what_numbers_depend_on_changes_the_fingerprint(override):
    assert run(override).fingerprint != run().fingerprint


@pytest.mark.parametrize(
    "override", ["runs=elsewhere", "launcher=processes", "tracking=http://x", "checkpoint_seconds=1", "retry=true"]
)
def test_where_and_how_a_run_is_run_does_not(override):
    assert run(override).fingerprint == run().fingerprint


def test_at_atjem_and_generative_share_the_first_stage():
    first = {run(f"method={m}").stage_runs[0].folder for m in ("at", "atjem", "generative")}
    assert len(first) == 1


def test_a_new_protocol_or_sampler_does_not_retrain():
    before = [t.fingerprint for t in run().stage_runs]
    for override in ("protocol.metrics.robustness.eps=1", "method.sampler.steps=3"):
        assert [t.fingerprint for t in run(override).stage_runs] == before


def test_a_change_of_the_first_stage_reaches_the_second():
    first, second = run("method.robust.training.lr=0.123").stage_runs
    assert first.fingerprint != run().stage_runs[0].fingerprint
    assert second.fingerprint != run().stage_runs[1].fingerprint


def test_outliers_do_not_matter_to_a_stage_that_sees_none():
    assert run("method=at", "outliers=patches").stage_runs[0].folder == run("method=at").stage_runs[0].folder


def test_seeds_of_one_experiment_are_one_series():
    runs = harness.plan("seed=0,1,2")
    assert len({r.series for r in runs}) == 1 and len({r.fingerprint for r in runs}) == 3


def test_a_run_asked_for_twice_is_one_run():
    assert len(harness.plan("seed=0,0")) == 1


def test_planning_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    harness.plan("method=at,jem")
    assert list(Path(tmp_path).iterdir()) == []


def test_an_experiment_is_the_sweep_that_it_stands_for():
    methods = ",".join(set(names("method")) - UNTRAINED)
    sweep = harness.plan(f"method={methods}", "seed=0,1,2")
    assert {r.fingerprint for r in harness.plan("experiment=digits_all")} == {r.fingerprint for r in sweep}
    assert len(sweep) == 48


def test_an_empty_sweep_is_an_error():
    with pytest.raises(UserError, match="empty"):
        harness.plan("seed=range(0,0)")
