"""The processes that work on one run together, and the few collective operations that they need.

Every method of World is collective: all processes must call it at the same point, or none.
"""

import atexit
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from harness.core.errors import first_line
from harness.core.random import derive

T = TypeVar("T")

PATIENCE = timedelta(days=7)
"""Timeout of collective operations: a process may have to wait for a stage that another job trains. Launchers end a
job when one of its processes has died, so nobody waits for a dead process."""


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
            dist.broadcast_object_list(outcome)
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
                dist.all_gather_object(texts, text)
        return texts

    def sum(self, x: Tensor) -> Tensor:
        """Sum a tensor over all ranks, in place."""
        if self.size > 1:
            with _translate_errors():
                dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """Average a tensor over all ranks, in place."""
        return self.sum(x).div_(self.size) if self.size > 1 else x

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all ranks' tensors, in rank order; ranks may hold different numbers of rows."""
        if self.size == 1:
            return x
        with _translate_errors():
            counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(self.size)]
            dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
            most = max(int(count) for count in counts)
            padded = torch.cat([x, x.new_zeros(most - len(x), *x.shape[1:])])
            gathered = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(gathered, padded)
        return torch.cat([rows[: int(count)] for rows, count in zip(gathered, counts, strict=True)])

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
        whole = self.gather(rows)
        order = torch.cat([torch.arange(rank, len(whole), self.size) for rank in range(self.size)])
        return torch.empty_like(whole).index_copy_(0, order.to(whole.device), whole)

    def device(self, name: str) -> str:
        """This rank's own GPU if several are visible and the name leaves the choice open; else the name itself."""
        several = self.size > 1 and name in ("auto", "cuda") and torch.cuda.device_count() > 1
        return f"cuda:{self.local}" if several else name


ALONE = World()
"""A single process."""


@cache
def join() -> World:
    """Connect to the processes that SLURM or torchrun started; a single process if neither did.

    Of SLURM's variables only those of a job step count: a batch script, or a shell in an allocation, is one process.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "RANK" not in os.environ:
        os.environ.update(_torchrun_variables())
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return ALONE
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    atexit.register(disconnect)  # a process that exits with open connections may crash
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))


def disconnect() -> None:
    """Close the connections, if there are any; processes that wait for this one then get an error."""
    if dist.is_initialized():
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
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # includes torch's DistBackendError and DistNetworkError
        raise Lost(f"another process of this run has gone ({first_line(error)})") from error
