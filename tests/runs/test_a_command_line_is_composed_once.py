"""Hydra composes each choice of components once, however many runs share it: a plan waits for little else."""

import hydra
import pytest

import harness
from harness.runs.compose import compose


@pytest.fixture
def composed(monkeypatch):
    """The choices that Hydra was asked to compose."""
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
        ),  # and what both share, where an experiment would say that it sweeps
    ],
)
def test_as_often_as_there_are_choices(arguments, runs, times, composed):
    assert len(compose(arguments)) == runs
    assert len(composed) == times


def test_a_plan_of_one_run_composes_once(composed):
    harness.plan("method=at")
    assert len(composed) == 1
