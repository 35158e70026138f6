"""The processes that work on one run together: who they are, and the few things that they tell each other.

Every method of World is called by all of them, at the same point of the work, or by none.
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
"""How long one waits for another: for a stage that another job trains, if need be. Launchers end a job of which a
process has died, so nobody waits for the dead."""


class Lost(Exception):
    """Another process of this run has gone: its own error, where it had one, says why."""


@dataclass(frozen=True)
class World:
    """This process is the `rank`-th of `size`, and the `local`-th of its machine; the first of all writes files."""

    rank: int = 0
    size: int = 1
    local: int = 0

    def on_main(self, do: Callable[[], T]) -> T:
        """What `do` gives, called by the first process alone; what it raises is raised by all."""
        if self.size == 1:
            return do()
        said: list[Any] = [None, None]
        if self.rank == 0:
            try:
                said[0] = do()
            except Exception as error:
                said[1] = error
        with _translate_errors():
            dist.broadcast_object_list(said)
        if said[1] is not None:
            raise said[1]
        return cast(T, said[0])

    def any(self, *flags: bool) -> list[bool]:
        """Which of the flags are set for one of them at least."""
        return [bool(flag) for flag in self.sum(torch.tensor(flags, dtype=torch.int64))]

    def gather_text(self, text: str) -> list[str]:
        """What each of them says, in the order of their ranks."""
        found: list[Any] = [text] * self.size
        if self.size > 1:
            with _translate_errors():
                dist.all_gather_object(found, text)
        return found

    def sum(self, x: Tensor) -> Tensor:
        """The sum of a tensor over all processes; the tensor itself is changed."""
        if self.size > 1:
            with _translate_errors():
                dist.all_reduce(x)
        return x

    def mean(self, x: Tensor) -> Tensor:
        """The mean of a tensor over all processes; the tensor itself is changed."""
        return self.sum(x).div_(self.size) if self.size > 1 else x

    def gather(self, x: Tensor) -> Tensor:
        """The rows of all processes' tensors, in the order of their ranks; their numbers may differ."""
        if self.size == 1:
            return x
        with _translate_errors():
            counts = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(self.size)]
            dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
            most = max(int(count) for count in counts)
            padded = torch.cat([x, x.new_zeros(most - len(x), *x.shape[1:])])
            found = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(found, padded)
        return torch.cat([rows[: int(count)] for rows, count in zip(found, counts, strict=True)])

    def wait(self) -> None:
        """Until all are here."""
        self.any(False)

    def split_rows(self, whole: Tensor) -> Tensor:
        """This process's rows of a tensor that all have: row i goes to process i mod size."""
        return whole if self.size == 1 else whole[self.rank :: self.size].clone()

    def join_rows(self, rows: Tensor) -> Tensor:
        """The whole of a tensor that was dealt out."""
        if self.size == 1:
            return rows
        whole = self.gather(rows)
        order = torch.cat([torch.arange(rank, len(whole), self.size) for rank in range(self.size)])
        return torch.empty_like(whole).index_copy_(0, order.to(whole.device), whole)

    def device(self, name: str) -> str:
        """A process's own GPU, where it sees several and the name leaves the choice; else the name."""
        several = self.size > 1 and name in ("auto", "cuda") and torch.cuda.device_count() > 1
        return f"cuda:{self.local}" if several else name


ALONE = World()
"""One process."""


@cache
def join() -> World:
    """The world that SLURM or torchrun has put this process into, connected; one process alone where neither has.

    Of SLURM's variables only those of a step count: a batch script, or a shell of an allocation, is one process.
    """
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "RANK" not in os.environ:
        os.environ.update(_torchrun_variables())
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return ALONE
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    atexit.register(disconnect)  # a process that ends with open connections may die of it
    return World(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", 0)))


def disconnect() -> None:
    """Close the connections to the others, if there are any; who waits for this process is told that it has gone."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _torchrun_variables() -> dict[str, str]:
    """What SLURM says of the step, in the variables that torchrun sets."""
    from submitit.slurm.slurm import SlurmJobEnvironment

    job, step, one_node = SlurmJobEnvironment(), os.environ["SLURM_STEP_ID"], os.environ["SLURM_STEP_NUM_NODES"] == "1"
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "MASTER_ADDR": "127.0.0.1" if one_node else job.hostnames[0],  # a node's own name need not resolve on it
        "MASTER_PORT": str(20_000 + derive(job.job_id, step) % 10_000),
    }


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # also torch's DistBackendError and DistNetworkError
        raise Lost(f"another process of this run has gone ({first_line(error)})") from error
