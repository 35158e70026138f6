"""The processes that work on one run together, and the few collective operations that they need.

Every method of World is collective: all processes must call it at the same point, or none.
"""

import atexit
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from harness.core.errors import Diverged, UserError, first_line
from harness.core.random import derive
from harness.core.signals import Leave

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""Timeout of collectives on the CPU (gloo): a process may have to wait for a stage that another job trains. Nobody
waits for a dead process: gloo notices it, and launchers end a job when one of its processes has died."""

GPU_PATIENCE = timedelta(hours=1)
"""Timeout of collectives on GPUs (NCCL), and of the first connection. NCCL does not notice a dead process, but all long
waits are on the CPU: within a step a rank waits for little more than a checkpoint or a preview of another."""


class Lost(Exception):
    """Another process of this run has exited; its own error, if it had one, gives the reason."""


@dataclass(frozen=True)
class World:
    """The position of this process: `rank` of `size`, and `local` on its machine; rank 0 writes the files."""

    rank: int = 0
    size: int = 1
    local: int = 0

    def on_main(self, do: Callable[[], T]) -> T:
        """Call `do` on rank 0 only; every rank returns its result or raises its exception."""
        if self.size == 1:
            return do()
        outcome: list[Any] = [None, None]
        if self.rank == 0:
            try:
                outcome[0] = do()
            except Exception as error:
                outcome[1] = error
        with _translate_errors():
            dist.broadcast_object_list(outcome, group=_cpu_group())
        if outcome[1] is not None:
            raise outcome[1]
        return cast(T, outcome[0])

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set on at least one rank."""
        return [bool(flag) for flag in self.sum(torch.tensor(flags, dtype=torch.int64))]

    def gather_text(self, text: str) -> list[str]:
        """The texts of all ranks, in rank order."""
        texts: list[Any] = [text] * self.size
        if self.size > 1:
            with _translate_errors():
                dist.all_gather_object(texts, text, group=_cpu_group())
        return texts

    def sum(self, x: Tensor) -> Tensor:
        """Sum a tensor over all ranks, in place."""
        if self.size > 1:
            with _translate_errors(x.device.type):
                dist.all_reduce(x, group=_group(x))
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Average a tensor over all ranks, in place."""
        return self.sum(x).div_(self.size) if self.size > 1 else x

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all ranks' tensors, in rank order; every rank must hold the same number of rows."""
        if self.size == 1:
            return x
        rows = x.new_empty(self.size * len(x), *x.shape[1:])
        with _translate_errors(x.device.type):
            dist.all_gather_into_tensor(rows, x.contiguous(), group=_group(x))
        return rows

    def wait(self) -> None:
        """Wait until all ranks have reached this point."""
        self.any(False)

    def split_rows(self, whole: Tensor) -> Tensor:
        """This rank's rows of a tensor that every rank holds: row i goes to rank i mod size."""
        return whole if self.size == 1 else whole[self.rank :: self.size].clone()

    def join_rows(self, rows: Tensor) -> Tensor:
        """Rebuild the tensor that `split_rows` distributed."""
        if self.size == 1:
            return rows
        total = int(self.sum(torch.tensor(len(rows))))
        most = -(-total // self.size)  # rounded up: ranks hold as many rows, or one less
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
        by_rank = self.gather(padded).unflatten(0, (self.size, most))
        return by_rank.transpose(0, 1).flatten(0, 1)[:total]

    def device(self, name: str) -> str:
        """This rank's own GPU if several are visible and the name leaves the choice open; else the name itself."""
        several = self.size > 1 and name in ("auto", "cuda") and torch.cuda.device_count() > 1
        return f"cuda:{self.local}" if several else name

    def connect(self, device: torch.device) -> None:
        """Check, before the first collective of a training, that the ranks can compute together on their devices.

        UserError if two of them have the same GPU, or if NCCL cannot connect them, with its whole message.
        """
        if self.size == 1 or device.type != "cuda":
            return
        # NCCL needs a GPU of its own for each rank, and what it says otherwise is hard to understand.
        owners: dict[str, int] = {}
        places = self.gather_text(f"{socket.gethostname()}: GPU {torch.cuda.get_device_properties(device).uuid}")
        for rank, place in enumerate(places):
            if owners.setdefault(place, rank) != rank:
                raise UserError(
                    f"Processes {owners[place]} and {rank} of {self.size} have the same device ({place}), but each "
                    "needs a GPU of its own: start as many processes on a machine as it has GPUs, with device=auto."
                )

        # NCCL connects in its first collective, and reports faults of the network and of containers there.
        try:
            dist.all_reduce(torch.zeros(1, device=device))
            torch.cuda.synchronize(device)
        except dist.DistBackendError as error:
            raise UserError(f"NCCL cannot connect the GPUs of {self.size} processes. {INTERFACES}\n{error}") from None


ALONE = World()
"""A single process."""

INTERFACES = (
    "If they are on several machines, name the network interface that connects these: GLOO_SOCKET_IFNAME=ib0 and "
    "NCCL_SOCKET_IFNAME=ib0, in the environment of every process (docs/slurm.md). NCCL_DEBUG=INFO says more."
)
"""What to type where processes cannot reach each other."""


_cpu_groups: list[Any] = []
"""torch's process group for objects and for tensors on the CPU, while it is connected; GPUs have the default group."""


def _cpu_group() -> Any:  # noqa: ANN401 - torch's type hints differ between versions
    return _cpu_groups[-1] if _cpu_groups else None


def _group(x: Tensor) -> Any:  # noqa: ANN401
    return _cpu_group() if x.device.type == "cpu" else None


@cache
def join() -> World:
    """Connect to the processes that SLURM or torchrun started; a single process if neither did.

    Of SLURM's variables only those of a job step count: a batch script, or a shell in an allocation, is one process.
    UserError if the processes cannot reach each other.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "RANK" not in os.environ:
        os.environ.update(_torchrun_variables())
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return ALONE
    try:
        # torch's own collectives, as those of SyncBatchNorm, use the default group. Ours on the CPU wait longer.
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=GPU_PATIENCE)
        _cpu_groups.append(dist.new_group(backend="gloo", timeout=PATIENCE))
    except RuntimeError as error:
        raise UserError(f"The processes of this run cannot reach each other. {INTERFACES}\n{error}") from None
    atexit.register(_close)
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))


def disconnect() -> None:
    """Close this rank's connections on the CPU, if there are any; ranks that wait for this one then get an error.

    Those of GPUs stay open: NCCL would wait until all ranks close them.
    """
    if _cpu_groups:
        dist.destroy_process_group(_cpu_groups.pop())  # the last reference: with it, the connections close


_statuses: list[int] = []
"""Exit statuses of this process, noted where it left the work that it shares with others."""


@contextmanager
def in_step() -> Iterator[None]:
    """Note an exception that leaves the context: this rank then ends on its own, while others may wait for it.

    At exit, it does not close NCCL's connections, which would wait for the others for ever. Diverged is no such
    exception, because all ranks raise it.
    """
    try:
        yield
    except Diverged:
        raise
    except BaseException as error:
        _statuses.append({Leave: 143, KeyboardInterrupt: 130}.get(type(error), 1))
        raise


def _close() -> None:
    """Close all connections at exit, because open ones may crash Python; with NCCL only if the ranks are in step."""
    if not dist.is_initialized():
        return
    if _statuses and dist.get_backend() == "nccl":
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_statuses[-1])
    disconnect()
    dist.destroy_process_group()


def _torchrun_variables() -> dict[str, str]:
    """SLURM's description of the job step, as the variables that torchrun sets."""
    from submitit.slurm.slurm import SlurmJobEnvironment

    job, step, one_node = SlurmJobEnvironment(), os.environ["SLURM_STEP_ID"], os.environ["SLURM_STEP_NUM_NODES"] == "1"
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "MASTER_ADDR": "127.0.0.1" if one_node else job.hostnames[0],  # a node may be unable to resolve its own name
        "MASTER_PORT": str(20_000 + derive(job.job_id, step) % 10_000),
    }


@contextmanager
def _translate_errors(device: str = "cpu") -> Iterator[None]:
    """Raise Lost for the errors of a collective on tensors of this device type.

    gloo raises plain RuntimeErrors, torch's errors for NCCL have a class of their own: any other error on a GPU is a
    fault of this process, whose message must be shown.
    """
    try:
        yield
    except dist.DistError as error:
        raise Lost(f"another process of this run has gone ({' '.join(str(error).split())})") from error
    except RuntimeError as error:
        if device != "cpu":
            raise
        raise Lost(f"another process of this run has gone ({first_line(error)})") from error
