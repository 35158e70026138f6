"""The Fréchet distance is that of the formula, by SciPy's matrix root, for each of several references in turn."""

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.evaluation.reference import frechet


def features(seed, n, dims, rank):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, rank, generator=generator) @ torch.randn(rank, dims, generator=generator)


def statistics(rows):
    array = rows.double().numpy()
    return {"mu": array.mean(0).astype(np.float32), "sigma": np.cov(array, rowvar=False)}


def by_hand(rows, against):
    own = statistics(rows)
    root = scipy.linalg.sqrtm(own["sigma"] @ against["sigma"]).real
    offset = own["mu"].astype(float) - against["mu"]
    return offset @ offset + np.trace(own["sigma"] + against["sigma"] - 2 * root)


@given(seeds=st.tuples(*[st.integers(0, 10**6)] * 3), dims=st.integers(2, 12))
def test_it_is_the_formula_s(seeds, dims):
    rows, *references = (features(seed, 4 * dims, dims, dims) for seed in seeds)
    first, second = (statistics(reference) for reference in references)
    for against in (first, second, first):
        assert frechet(rows, against) == pytest.approx(by_hand(rows, against), rel=1e-4, abs=1e-4)


def test_features_that_never_vary_are_no_harm():
    """A covariance without an inverse: both distances lie in the subspace that varies."""
    rows, real = (torch.cat([features(seed, 40, 3, 3), torch.zeros(40, 2)], 1) for seed in (0, 1))
    inside = frechet(rows[:, :3].contiguous(), statistics(real[:, :3]))
    assert frechet(rows, statistics(real)) == pytest.approx(inside, rel=1e-5)
    assert frechet(real, statistics(real)) == pytest.approx(0, abs=1e-5)
