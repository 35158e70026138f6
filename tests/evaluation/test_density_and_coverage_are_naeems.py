"""Density and coverage are those of Naeem et al. (2020), and a protocol that does not ask for them has neither."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from published import PUBLISHED

from harness.core.errors import UserError
from harness.core.registry import make
from harness.evaluation import neighbours
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.fidelity import Fidelity, density_and_coverage
from harness.evaluation.samples import Samples, Sampling, eight_bits
from harness.runs.compose import compose
from harness.runs.run import Run

CPU = torch.device("cpu")


def by_hand(samples, images, k):
    """Both figures, one pair of points after the other."""

    def length(a, b):
        return float(np.sqrt(((a - b) ** 2).sum()))

    samples, images = samples.double().numpy(), images.double().numpy()
    radii = [sorted(length(x, other) for j, other in enumerate(images) if j != i)[k - 1] for i, x in enumerate(images)]
    inside = np.array([[length(x, y) < radius for y in samples] for x, radius in zip(images, radii, strict=True)])
    return inside.sum() / (k * len(samples)), inside.any(1).mean()


def figures(samples, images, k):
    densities, covered = density_and_coverage(samples, images, k)
    return float(densities.mean()), float(covered.double().mean())


@given(
    seed=st.integers(0, 1000), n=st.integers(1, 30), m=st.integers(7, 30), k=st.integers(1, 6), shift=st.floats(0, 3)
)
def test_they_are_their_formulas(seed, n, m, k, shift):
    generator = torch.Generator().manual_seed(seed)
    samples = shift + torch.randn(n, 3, generator=generator)
    images = torch.randn(m, 3, generator=generator)
    assert figures(samples, images, k) == pytest.approx(by_hand(samples, images, k))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_equal_sets_have_one_of_both_and_sets_apart_have_none(k):
    images = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    assert figures(images, images, k) == pytest.approx((1, 1))
    assert figures(images + 100, images, k) == (0, 0)


@pytest.mark.parametrize("m", [80, 400])
def test_equal_distributions_have_density_1_and_the_coverage_of_lemma_2(m):
    """Coverage is 1 − (N−1)⋯(N−k) / ((M+N−1)⋯(M+N−k)) on average, of N by M, whatever the distribution."""
    n, k = 400, 3
    generator = torch.Generator().manual_seed(2)
    pairs = [torch.rand(m + n, 5, generator=generator).split([m, n]) for _ in range(20)]
    density, coverage = np.mean([figures(samples, images, k) for samples, images in pairs], 0)
    missed = np.prod([(n - i) / (m + n - i) for i in range(1, k + 1)])
    assert density == pytest.approx(1, abs=0.03)
    assert coverage == pytest.approx(1 - missed, abs=0.02)
    assert missed == pytest.approx((n / (m + n)) ** k, abs=0.01), "as the docstring has it for large sets"


def test_one_far_image_raises_density_to_1_over_k_where_precision_would_be_1():
    """The failure of precision that density was made for: a ball around an outlier holds every sample."""
    generator = torch.Generator().manual_seed(3)
    images = torch.cat([torch.randn(100, 2, generator=generator), torch.full((1, 2), 30.0)])
    samples = torch.full((50, 2), 20.0)
    density, coverage = figures(samples, images, 3)
    assert density == pytest.approx(1 / 3)
    assert coverage == pytest.approx(1 / 101)


def test_the_size_of_the_blocks_changes_nothing(monkeypatch):
    samples, images = torch.rand(2, 50, 3, generator=torch.Generator().manual_seed(4))
    whole = density_and_coverage(samples, images, 4)
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert all(map(torch.equal, density_and_coverage(samples, images, 4), whole))


def test_the_scores_are_taken_in_the_features_of_precision(digits, tmp_path):
    samples = Samples(tmp_path, Sampling(count=80, chunk=40, seed=0))
    for chunk in range(2):
        samples.write(chunk, torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(chunk)))
    subject = Subject(None, digits, CPU, samples, tmp_path)
    with_density, without = (
        Fidelity(features="digits", kid_subset=20, seed=0, density=density) for density in (3, None)
    )
    parts = [with_density.score(subject, shard) for shard in range(2)]
    scores = with_density.merge(subject, parts).scores
    extractor = subject.features("digits")
    images = eight_bits(digits.tensors("train")[0])
    found, real = (extractor(of)["features"] for of in (torch.cat(list(samples)), images))
    assert (scores["density_digits"].value, scores["coverage_digits"].value) == pytest.approx(figures(found, real, 3))
    assert scores["density_digits"].n == 80 and scores["coverage_digits"].n == len(images)
    assert scores["coverage_digits"].low <= scores["coverage_digits"].value <= scores["coverage_digits"].high
    # An entry that does not ask for them has every other score as before.
    rest = without.merge(subject, parts).scores
    assert rest == {key: score for key, score in scores.items() if not key.startswith(("density", "coverage"))}


def test_null_is_no_part_of_a_protocols_hash_and_a_number_is():
    null, three = (Run(*compose([f"+protocol.metrics.fidelity.density={density}"])).protocol for density in ("null", 3))
    assert (null.id, null.hash) == PUBLISHED["digits", "digits"]
    assert three.hash != null.hash


def test_a_number_of_neighbours_that_cannot_be_is_refused(digits):
    with pytest.raises(UserError, match="density must be 1 or more"):
        make(Fidelity, "protocol.metrics.fidelity", {"features": "digits", "kid_subset": 20, "seed": 0, "density": 0})
    metric = Fidelity(features="digits", kid_subset=20, seed=0, density=5000)
    with pytest.raises(UserError, match="density=5000: only 1257 reference images"):
        metric.ready(digits, Sampling(count=80, chunk=40, seed=0), {})
