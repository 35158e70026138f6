"""What a collective raises is told apart: a rank that has gone, a fault of this one's GPU, and ranks set up wrongly.

No GPU and no NCCL: torch's collectives are replaced by functions that raise what they raise there.
"""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from commandline import bare

import harness
from harness.core import distributed
from harness.core.distributed import GPU_PATIENCE, PATIENCE, Lost, World
from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.runs.execute import train_stage
from harness.runs.progress import Watch
from harness.runs.rehearsal import rehearse

GPU, CPU = torch.device("cuda"), torch.device("cpu")
TWO = World(rank=1, size=2)

NCCL = """NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error, NCCL version 2.27.5
ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.
Last error:
Error while creating shared memory segment /dev/shm/nccl-Fq3Ky2 (size 9637888)"""


def collective_raises(monkeypatch, error, device):
    """The exception of a sum over ranks of a tensor on this device, where torch's collective raises `error`."""

    def fail(x, group=None):
        raise error

    monkeypatch.setattr(dist, "all_reduce", fail)
    with pytest.raises(Exception) as raised:
        TWO.sum(SimpleNamespace(device=device))
    return raised.value


@pytest.mark.parametrize("kind", ["AcceleratorError", "OutOfMemoryError"])
def test_a_fault_of_the_gpu_is_shown_as_it_is(monkeypatch, kind):
    if not hasattr(torch, kind):
        pytest.skip(f"this version of torch has no {kind}")
    error = getattr(torch, kind)("CUDA error: an illegal memory access was encountered")
    assert collective_raises(monkeypatch, error, GPU) is error


def test_so_are_faults_of_gpus_in_older_versions_of_torch(monkeypatch):
    error = RuntimeError("CUDA error: device-side assert triggered")
    assert collective_raises(monkeypatch, error, GPU) is error


def test_a_rank_that_has_gone_is_told_with_all_that_nccl_says(monkeypatch):
    error = collective_raises(monkeypatch, dist.DistBackendError(NCCL), GPU)
    assert isinstance(error, Lost) and "/dev/shm/nccl-Fq3Ky2" in str(error) and "\n" not in str(error)


def test_gloo_says_it_in_one_line(monkeypatch):
    error = collective_raises(monkeypatch, RuntimeError("Connection closed by peer\nmore"), CPU)
    assert isinstance(error, Lost) and "Connection closed by peer" in str(error) and "more" not in str(error)


@pytest.fixture
def gpus(monkeypatch):
    """A function that sets host and GPU of each rank, and what NCCL's first collective raises."""

    def gpus(places, error=None):
        def gather(texts, text, group=None):
            assert text == places[TWO.rank]
            texts[:] = places

        def reduce(x):
            if error:
                raise error

        host, uuid = places[TWO.rank].split(": GPU ")
        monkeypatch.setattr(dist, "all_gather_object", gather)
        monkeypatch.setattr(dist, "all_reduce", reduce)
        monkeypatch.setattr("socket.gethostname", lambda: host)
        monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: SimpleNamespace(uuid=uuid))
        monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
        monkeypatch.setattr("torch.zeros", lambda size, device: "a tensor on a GPU")

    return gpus


def test_two_ranks_on_one_gpu_are_refused(gpus):
    gpus(["n1: GPU 8f6d", "n1: GPU 8f6d"])
    with pytest.raises(UserError, match=r"Processes 0 and 1 of 2 have the same device .n1: GPU 8f6d.*device=auto"):
        TWO.connect(GPU)


@pytest.mark.parametrize("places", [["n1: GPU 8f6d", "n1: GPU 0c9e"], ["n1: GPU 8f6d", "n2: GPU 8f6d"]])
def test_ranks_with_a_gpu_each_are_connected(gpus, places):
    gpus(places)
    TWO.connect(GPU)


def test_nccl_says_in_full_why_it_cannot_connect(gpus):
    gpus(["n1: GPU 8f6d", "n1: GPU 0c9e"], dist.DistBackendError(NCCL))
    with pytest.raises(UserError) as refused:
        TWO.connect(GPU)
    assert str(refused.value).endswith(NCCL) and "NCCL_SOCKET_IFNAME" in str(refused.value)


def test_a_fault_of_the_gpu_in_the_first_collective_is_shown_as_it_is(gpus):
    error = RuntimeError("CUDA error: uncorrectable ECC error encountered")
    gpus(["n1: GPU 8f6d", "n1: GPU 0c9e"], error)
    with pytest.raises(RuntimeError) as raised:
        TWO.connect(GPU)
    assert raised.value is error


WORKS = {
    "rehearsal": lambda run: rehearse(run, CPU),
    "training": lambda run: train_stage(run, run.stage_runs[0], Watch()),
}


@pytest.mark.parametrize("name", WORKS)
def test_ranks_are_connected_before_their_nets_compute(name, monkeypatch, tmp_path):
    def refuse(world, device):
        raise UserError("not connected")

    monkeypatch.setattr(World, "connect", refuse)
    monkeypatch.setattr(EnergyModel, "forward", lambda *_: pytest.fail("a net computes before the ranks are connected"))
    (run,) = harness.plan(*bare("at", 2), f"runs={tmp_path}")
    with pytest.raises(UserError, match="not connected"):
        WORKS[name](run)


def test_one_process_and_processes_on_cpus_need_no_check():
    World().connect(GPU)
    TWO.connect(CPU)


@pytest.mark.parametrize("gpu", [True, False])
def test_the_error_of_the_connection_names_the_variables_of_interfaces(monkeypatch, gpu):
    """And only waits on the CPU may take days."""
    waits = {}

    def init(backend, timeout):
        waits[backend] = timeout

    def fail(backend, timeout):
        waits["ours"] = timeout
        raise RuntimeError("Gloo connectFullMesh failed with timed out connecting: SO_ERROR: Connection refused")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(dist, "init_process_group", init)
    monkeypatch.setattr(dist, "new_group", fail)
    with pytest.raises(UserError, match=r"(?s)GLOO_SOCKET_IFNAME.*docs/slurm.md.*connectFullMesh failed"):
        distributed.join.__wrapped__()
    assert waits == {"nccl" if gpu else "gloo": GPU_PATIENCE, "ours": PATIENCE}
    assert GPU_PATIENCE.total_seconds() <= 3600
