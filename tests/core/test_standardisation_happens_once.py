"""Pixels are standardised in EnergyModel and nowhere else; its energies follow from the logits."""

import pytest
import torch
from torch import nn

from harness.core.energy import EnergyModel

MEAN, STD = [0.5, 0.25, 0.125], [0.25, 0.5, 2.0]


@pytest.fixture
def flat():
    torch.manual_seed(0)
    return EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), MEAN, STD).double()


@pytest.fixture
def colours():
    return torch.rand(5, 3, 2, 2, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def test_the_net_sees_each_channel_standardised_once(flat, colours):
    seen = []
    flat.net.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    logits = flat(colours)
    expected = torch.stack([(colours[:, c] - MEAN[c]) / STD[c] for c in range(3)], 1)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(logits, flat.net(expected), rtol=1e-10, atol=1e-14)


def test_the_marginal_energy_is_minus_logsumexp(flat, colours):
    expected = -flat(colours).exp().sum(1).log()
    torch.testing.assert_close(flat.energy(colours), expected, rtol=1e-10, atol=0)


def test_the_joint_energy_is_minus_the_label_s_logit(flat, colours):
    y = torch.tensor([3, 0, 2, 1, 3])
    expected = torch.stack([-flat(colours)[i, y[i]] for i in range(5)])
    torch.testing.assert_close(flat.energy(colours, y), expected, rtol=1e-10, atol=0)


def test_energies_of_large_logits_do_not_overflow(flat, colours):
    flat.net[1].weight.data.mul_(1e5)
    assert flat.energy(colours).isfinite().all()


def test_the_state_holds_the_net_alone(flat):
    assert set(flat.state_dict()) == {"net.1.weight", "net.1.bias"}


def test_standardisation_follows_the_model_s_dtype(flat):
    assert (flat.mean.dtype, flat.std.dtype) == (torch.double, torch.double)
    assert (flat.float().mean.dtype, flat.std.shape) == (torch.float, (1, 3, 1, 1))


@pytest.mark.parametrize(("mean", "std"), [([0.5], [0.0]), ([0.5], [-1.0]), ([0.5, 0.5], [1.0])])
def test_constants_without_a_meaning_are_refused(mean, std):
    with pytest.raises(ValueError, match="std"):
        EnergyModel(nn.Identity(), mean, std)
