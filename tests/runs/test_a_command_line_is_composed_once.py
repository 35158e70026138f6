"""Hydra, which takes most of the time of a plan, composes each choice of components once for all runs that share it."""

import hydra
import pytest

import harness
from harness.runs.compose import compose


@pytest.fixture
def composed(monkeypatch):
    """The list of choices that Hydra has composed."""
    real, seen = hydra.compose, []
    monkeypatch.setattr(hydra, "compose", lambda *given, **named: seen.append(given[1]) or real(*given, **named))
    return seen


@pytest.mark.parametrize(
    ("arguments", "runs", "times"),
    [
        (["method=at"], 1, 1),
        (["-m", "method=at"], 1, 1),
        (["method=at", "seed=3", "model.width=4"], 1, 1),
        (["-m", "method=at", "seed=0,1,2"], 3, 1),
        (
            ["-m", "method=at,jem", "seed=0,1"],
            4,
            3,
        ),  # plus the part shared by both methods, where an experiment would define its sweep
    ],
)
def test_as_often_as_there_are_choices(arguments, runs, times, composed):
    assert len(compose(arguments)) == runs
    assert len(composed) == times


def test_a_plan_of_one_run_composes_once(composed):
    harness.plan("method=at")
    assert len(composed) == 1
