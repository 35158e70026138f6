"""Averaging weights reads nothing from their device and sends nothing to it, so a step does not wait for it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.core.optim import Average


class Transfers(TorchDispatchMode):
    """The names of the operators that copy between devices."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        given = {x.device for x in args if isinstance(x, torch.Tensor)}
        if isinstance(result, torch.Tensor) and given and result.device not in given:
            self.names.append(str(function))
        return result


@pytest.mark.parametrize("updates", [1, 2, 5])
def test_weights_whose_values_cannot_be_read_are_averaged(digits_net, updates):
    model = digits_net().to("meta")  # a device without values: reading one of them raises
    average = Average(model, 0.999)
    with Transfers() as transfers:
        for _ in range(updates):
            average.update_parameters(model)
    assert transfers.names == [] and int(average.n_averaged) == updates


def test_such_a_transfer_would_be_seen():
    with Transfers() as transfers:
        torch.tensor(0).to("meta")
    assert len(transfers.names) == 1
