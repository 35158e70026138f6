"""The learning rate of each step follows its schedule: warm-up, then constant, cosine to 0, or epoch milestones."""

import pytest

from harness.core.optim import Training


def rates(steps, **fields):
    how = Training(epochs=10, batch=1, optimizer="sgd", lr=2.0, **fields)
    return [how.rate(step, steps) for step in range(steps)]


def test_constant():
    assert rates(4) == [2.0] * 4


def test_warm_up_rises_in_equal_steps_to_the_full_rate():
    assert rates(6, warmup=4) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 2.0])


def test_cosine_falls_from_the_full_rate_through_half_towards_zero():
    found = rates(100, schedule="cosine")
    assert found[0] == 2.0 and found[50] == pytest.approx(1.0) and 0 < found[-1] < 0.001
    assert found == sorted(found, reverse=True)


def test_milestones_are_epochs():
    found = rates(100, schedule="step", milestones=(8, 9), gamma=0.3)
    assert found == pytest.approx([2.0] * 80 + [0.6] * 10 + [0.18] * 10)
