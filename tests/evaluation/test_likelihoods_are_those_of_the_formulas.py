"""NLL, Brier score and temperature equal independent derivations; the temperature is fitted on another split."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearns
from torch.nn.functional import softmax

from harness.evaluation.metrics.likelihood import Likelihood, best_temperature, brier, log_loss


def drawn(n=200, classes=5, sharpness=3.0, seed=0):
    """Logits that predict their labels well, with more confidence than they should have if `sharpness` is large."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=rng)
    noise = torch.randn(n, classes, generator=rng, dtype=torch.double)
    return sharpness * (noise + torch.nn.functional.one_hot(labels, classes)), labels


def test_nll_is_sklearns_and_the_brier_score_its_definition():
    logits, labels = drawn()
    p = softmax(logits, 1).numpy()
    assert float(log_loss(logits, labels).mean()) == pytest.approx(sklearns(labels.numpy(), p))
    by_hand = [sum((p[i, k] - (k == int(labels[i]))) ** 2 for k in range(5)) for i in range(len(p))]
    np.testing.assert_allclose(brier(logits, labels).numpy(), by_hand)
    assert min(by_hand) >= 0 and max(by_hand) <= 2


@settings(max_examples=20)
@given(st.floats(0.2, 20))
def test_the_temperature_undoes_a_factor_of_the_logits(factor):
    logits, labels = drawn(sharpness=1.0)
    assert best_temperature(factor * logits, labels) == pytest.approx(
        factor * best_temperature(logits, labels), rel=1e-3
    )


def test_no_other_temperature_has_a_smaller_nll():
    logits, labels = drawn()
    found = best_temperature(logits, labels)
    least = log_loss(logits / found, labels).mean()
    assert found > 1.5, "these logits are too confident"
    assert all(log_loss(logits / t, labels).mean() >= least - 1e-9 for t in np.geomspace(0.1, 30, 200))


def test_it_is_fitted_on_the_other_split_only():
    splits = {"validation": drawn(seed=1, sharpness=6.0), "test": drawn(seed=2, sharpness=1.0)}
    subject = SimpleNamespace(logits=splits.__getitem__, data=None)
    metric = Likelihood(split="test", fit="validation", bins=10)
    scores = metric.merge(subject, [metric.score(subject, 0)]).scores
    temperature = best_temperature(*splits["validation"])
    assert scores["temperature"].value == pytest.approx(abs(np.log(temperature)))
    logits, labels = splits["test"]
    expected = sklearns(labels.numpy(), softmax(logits / temperature, 1).numpy())
    assert scores["nll_scaled"].value == pytest.approx(expected)
    assert scores["nll"].low <= scores["nll"].value <= scores["nll"].high
    with pytest.raises(ValueError, match="another split"):
        Likelihood(split="test", fit="test", bins=10)
