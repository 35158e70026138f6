"""The averaged weights and statistics are a copy at first, then decay by min(0.999, (1 + n) / (10 + n))."""

from itertools import pairwise

import pytest
import torch

from harness.core.optim import Average


def snapshots(model, n, seed=0):
    """The model's state after each of n updates of every weight and statistic."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(n):
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                low = 0.1 if name.endswith("running_var") else -1.0
                value.copy_(torch.rand(value.shape, generator=generator).double() * 2 + low)
            else:
                value.fill_(10 * step + 3)
        yield {name: value.clone() for name, value in model.state_dict().items()}


def closed_form(values, decay):
    """Σ_i w_i Π_{j>i} d_j, computing the weight of each snapshot separately; d_n = min(decay, (1+n)/(10+n))."""
    decays = [0.0] + [min(decay, (1 + n) / (10 + n)) for n in range(1, len(values))]
    total = torch.zeros_like(values[0])
    for i, value in enumerate(values):
        weight = 1 - decays[i]
        for later in decays[i + 1 :]:
            weight *= later
        total += weight * value
    return total


@pytest.mark.parametrize("decay", [0.999, 0.3, 0.0])
def test_the_average_is_the_closed_form_after_each_update(digits_net, decay):
    model = digits_net().double()
    average = Average(model, decay)
    seen = []
    for state in snapshots(model, 12):
        average.update_parameters(model)
        seen.append(state)
        for name, value in average.module.state_dict().items():
            if value.is_floating_point():
                expected = closed_form([s[name] for s in seen], decay)
                torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def test_the_decay_reaches_its_limit_and_stays():
    weight = torch.nn.Linear(1, 1, bias=False).double()
    average = Average(weight, 0.5)  # (1 + n) / (10 + n) is a half at n = 8
    values = []
    for step in range(20):
        weight.weight.data.fill_(float(step % 3))
        average.update_parameters(weight)
        values.append((average.module.weight.item(), float(step % 3)))
    for n, ((before, _), (after, new)) in enumerate(pairwise(values), start=1):
        d = (1 + n) / (10 + n) if n < 8 else 0.5
        assert after == pytest.approx(d * before + (1 - d) * new, rel=1e-12)


def test_the_first_update_copies_and_shares_no_memory(digits_net):
    model = digits_net()
    average = Average(model, 0.999)
    (state,) = snapshots(model, 1)
    average.update_parameters(model)
    assert all(torch.equal(value, state[name]) for name, value in average.module.state_dict().items())
    model.net.head.weight.data.add_(1)
    assert torch.equal(average.module.net.head.weight, state["net.head.weight"])


def test_normalisation_statistics_are_averaged_and_counters_copied(digits_net):
    model = digits_net().double()
    average = Average(model, 0.999)
    first, second = (average.update_parameters(model) or state for state in snapshots(model, 2))
    after = average.module.state_dict()
    d = 2 / 11
    for name in ("net.norm0.running_mean", "net.norm3.running_var"):
        torch.testing.assert_close(after[name], d * first[name] + (1 - d) * second[name], rtol=1e-10, atol=0)
    assert after["net.norm0.num_batches_tracked"] == second["net.norm0.num_batches_tracked"] == 13


def test_an_average_continues_from_its_saved_state(digits_net):
    model = digits_net().double()
    whole, first = Average(model, 0.999), Average(model, 0.999)
    for n, _ in enumerate(snapshots(model, 6)):
        if n == 3:
            second = Average(model, 0.999)
            second.load_state_dict(first.state_dict())
            first = second
        whole.update_parameters(model)
        first.update_parameters(model)
    assert all(torch.equal(v, first.state_dict()[name]) for name, v in whole.state_dict().items())
