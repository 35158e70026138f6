"""FD∞ is where a line through the distances of fewer and fewer samples meets infinitely many."""

import numpy as np
import pytest
import torch

from harness.evaluation.metrics import infinity
from harness.evaluation.metrics.infinity import extrapolated
from harness.evaluation.reference import frechet


def test_a_trend_over_one_over_n_is_followed_exactly(monkeypatch):
    monkeypatch.setattr(infinity, "frechet", lambda rows, against: 2 + 30 / len(rows))
    assert extrapolated(torch.zeros(500, 3), {}, least=50, points=7, seed=0) == pytest.approx(2)


def test_samples_of_the_reference_itself_come_much_nearer_to_zero():
    dims = 16
    against = {"mu": np.zeros(dims, np.float32), "sigma": np.eye(dims)}
    samples = torch.randn(2000, dims, generator=torch.Generator().manual_seed(0))
    biased = frechet(samples, against)
    assert biased > 0.02
    assert abs(extrapolated(samples, against, least=200, points=15, seed=0)) < biased / 3


def test_a_distance_stays():
    dims = 16
    against = {"mu": np.full(dims, 0.5, np.float32), "sigma": np.eye(dims)}
    samples = torch.randn(2000, dims, generator=torch.Generator().manual_seed(1))
    # Only the means differ: the distance is 16 · 0.25.
    assert extrapolated(samples, against, least=200, points=15, seed=0) == pytest.approx(4, rel=0.05)
