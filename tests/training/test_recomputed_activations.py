"""recompute=true changes no bit and takes less memory; it is refused where it is inexact or impossible."""

import pytest
import torch

from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.optim import Training
from harness.core.walk import Walk
from harness.cost.memory import peak
from harness.methods.at import Robust
from harness.models.digits import Digits
from harness.models.timm import timm_net
from harness.runs.standin import RandomImages
from harness.training.batches import StageInputs
from harness.training.step import Step

CPU = torch.device("cpu")
DATA = RandomImages((3, 32, 32), 5)


def loop_of(net, folder, recompute, freeze_norm=False):
    stage = Robust(Walk(2, 0.1, eps=0.5), Training(1, 16, "sgd", 0.01, freeze_norm=freeze_norm))
    model = EnergyModel(net, (0.5,) * 3, (0.25,) * 3)
    loop = Step(stage, model, StageInputs(DATA, None, ("test",), CPU, recompute=recompute))
    return loop


def net(name):
    torch.manual_seed(0)
    return timm_net(5, 3, name, {})


@pytest.mark.parametrize(("name", "freeze_norm"), [("convnext_atto", False), ("resnet18", True)])
def test_the_same_bits_in_less_memory(name, freeze_norm, tmp_path):
    kept, again = (loop_of(net(name), tmp_path / str(one), one, freeze_norm) for one in (False, True))
    step, batch = next(kept.batches())
    for loop in (kept, again):
        loop(step, batch)
    for name, value in kept.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], value), name
    less, more = (peak(lambda loop=loop: loop.loss(step, batch).total, CPU) for loop in (again, kept))
    assert less < 0.9 * more, "memory before the gradients, which are as large as the weights"


def test_a_net_that_cannot_is_refused(tmp_path):
    with pytest.raises(UserError, match="accumulate"):
        loop_of(Digits(5, 3, 4, "none", "relu"), tmp_path, True)


def test_normalisation_that_learns_is_refused(tmp_path):
    with pytest.raises(UserError, match="running statistics"):
        loop_of(net("resnet18"), tmp_path, True)
