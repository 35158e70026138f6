"""What fails on a GPU fails on the pretended one, and what makes the host wait is noted: planted faults are found."""

import pytest
import torch
import torch.distributed as dist
from pretended_gpu import GPU, PretendedGPU, WrongDevice, nccl

import harness
from harness.core.distributed import World
from harness.core.walk import Walk, marginal_score, walk
from harness.methods import at, jem
from harness.runs.build import stage_inputs, untrained
from harness.training.step import Step

SMALL = {"at": "method.robust.training.batch=8", "jem": "method.energy.training.batch=8"}
NOISY = Walk(2, 0.1, noise=0.1)


@pytest.fixture
def gpu():
    with PretendedGPU() as gpu:
        yield gpu


def step_once(method):
    """One step of the first stage of a method on the GPU."""
    (run,) = harness.plan(f"method={method}", SMALL[method], "model.width=4", "tracking=off", "threads=1")
    name, stage = next(iter(run.method.stages.items()))
    inputs = stage_inputs(run, name, stage, GPU)
    step = Step(stage, untrained(run).to(GPU), inputs)
    step(*next(step.batches()))


FAULTS = {
    "two devices": lambda x: x + torch.ones(3),
    "a net of the CPU": lambda x: torch.nn.Linear(3, 3)(x),
    "a part of the CPU": lambda x: torch.cat([x, torch.ones(1)]),
    "a number of the CPU in a list": lambda x: torch.stack([x.sum(), torch.tensor(1.0)]),
    "indices of the GPU in a tensor of the CPU": lambda x: torch.ones(3)[x.long()],
    "a target of the CPU": lambda x: torch.nn.functional.cross_entropy(x[None], torch.tensor([1])),
    "values of the CPU at indices": lambda x: x.index_put_([x.long()], torch.ones(3)),
    "a result of the CPU": lambda x: torch.ones(3).add_(x),
    "a generator of the CPU": lambda x: torch.rand(3, device=GPU, generator=torch.Generator()),
    "a generator of the GPU": lambda x: torch.rand(3, generator=torch.Generator(GPU)),
    "a generator of the CPU, in place": lambda x: x.normal_(generator=torch.Generator()),
    "a permutation": lambda x: torch.randperm(3, device=GPU, generator=torch.Generator()),
    "numpy": lambda x: x.numpy(),
    "numpy, unseen": lambda x: __import__("numpy").asarray(x),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_raises(fault, gpu):
    with pytest.raises(WrongDevice):
        FAULTS[fault](torch.zeros(3, device=GPU))


LAWFUL = {
    "a number of the CPU": lambda x: x * torch.tensor(2.0),
    "a copy": lambda x: torch.ones(3).copy_(x.cpu()) + x.cpu(),
    "indices of the CPU": lambda x: x[torch.tensor([0, 1])] + x[:2],
    "a number at indices": lambda x: x.index_put_([torch.tensor([0, 1])], torch.tensor(1.0)),
    "its own generator": lambda x: torch.rand(3, device=GPU, generator=torch.Generator(GPU)) + x,
    "a net in another type": lambda x: torch.nn.Linear(3, 3).to(GPU).double()(x.double()) / 10,
    "gradients": lambda x: torch.autograd.grad((x.requires_grad_() ** 2).sum(), x)[0] + x,
}


@pytest.mark.parametrize("what", LAWFUL)
def test_what_a_gpu_can_do_is_done(what, gpu):
    assert LAWFUL[what](torch.zeros(3, device=GPU)).sum().item() < 10


WAITS = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum() > 0),
    "float": lambda x: float(x.sum()),
    "format": lambda x: f"{x.sum():.3g}",
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to("cpu"),
    "copy_": lambda x: torch.ones(3).copy_(x),
    "nonzero": lambda x: x.nonzero(),
    "unique": lambda x: x.unique(),
    "a mask": lambda x: x[x > 0],
    "a number": lambda x: torch.tensor(1.0, device=GPU),
    "a number as it is": lambda x: torch.as_tensor(1.0, device=x.device),
    "an image": lambda x: torch.ones(3).to(x.device),
    "numbers in its type": lambda x: torch.ones(3).to(x),
    "indices": lambda x: x[torch.tensor([0])],
}


@pytest.mark.parametrize("what", WAITS)
def test_a_wait_is_noted_and_known_to_be_in_a_walk(what, gpu, digits_net):
    model, x = digits_net().to(GPU), torch.rand(2, 1, 8, 8, device=GPU)

    def normal(x):
        WAITS[what](x.flatten()[:3])
        return torch.zeros_like(x)

    gpu.waits.clear()
    walk(model, x, marginal_score, NOISY, normal=torch.zeros_like)
    assert gpu.waits == []
    normal(x)
    assert gpu.waits and not gpu.waits_in_walks()
    walk(model, x, marginal_score, NOISY, normal=normal)
    (line,) = {wait.where for wait in gpu.waits}
    assert line.startswith("tests/devices/test_the_pretended_gpu") and len(gpu.waits_in_walks()) == 1


def plant(patch, owner, name, work):
    """Do some work with the first tensor that a function is given, before the function."""
    whole = getattr(owner, name)

    def planted(*arguments, **options):
        work(next(x for x in arguments if isinstance(x, torch.Tensor)))
        return whole(*arguments, **options)

    patch.setattr(owner, name, planted)


def test_a_tensor_on_the_wrong_device_in_a_loss_is_found(gpu, monkeypatch):
    step_once("at")
    plant(monkeypatch, at, "walk", lambda x: x + torch.zeros(x.shape))
    with pytest.raises(WrongDevice, match=r"same device.*test_the_pretended_gpu"):
        step_once("at")


def test_a_generator_of_the_cpu_in_a_loss_is_found(gpu, monkeypatch):
    step_once("jem")
    monkeypatch.setattr(Step, "rng", lambda step, *key: torch.Generator())
    with pytest.raises(WrongDevice, match="generator"):
        step_once("jem")


def test_numpy_in_a_loss_is_found(gpu, monkeypatch):
    plant(monkeypatch, jem, "marginal_score", lambda x: x.detach().numpy())
    with pytest.raises(WrongDevice, match="numpy"):
        step_once("jem")


def test_a_wait_in_the_walk_of_a_loss_is_found(gpu, monkeypatch):
    step_once("jem")
    assert gpu.waits_in_walks() == []
    plant(monkeypatch, jem, "marginal_score", lambda x: x.sum().item())
    step_once("jem")
    (found,) = gpu.waits_in_walks()
    assert found.startswith("item at tests/devices/")


def test_a_collective_of_a_tensor_on_the_cpu_is_found(gpu):
    with nccl():
        assert World(0, 2).mean(torch.ones(3, device=GPU)).cpu().tolist() == [1, 1, 1]
        assert World(0, 2).gather(torch.ones(1, device=GPU)).cpu().tolist() == [1, 1]
        assert World(0, 2).sum(torch.ones(3)).tolist() == [2, 2, 2], "tensors of the CPU have a group of their own"
        rows = torch.ones(6)
        for collective in (lambda: dist.all_reduce(rows), lambda: dist.all_gather_into_tensor(rows, rows[:3])):
            with pytest.raises(WrongDevice, match="No backend for a collective"):
                collective()


def test_the_pretended_gpu_is_gone_afterwards():
    with PretendedGPU():
        x = torch.ones(3, device=GPU)
    assert type(torch.Generator()) is torch.Generator and torch.ones(3).to("cpu").device.type == "cpu"
    with pytest.raises(AssertionError, match="outside of it"):
        x + 1
