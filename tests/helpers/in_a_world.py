"""The script of the processes in distributed tests: torchrun in_a_world.py FAULT OVERRIDE… -- OVERRIDE…

"FAULT on GPUs" is the same in a world that pretends to have GPUs.
"""

import os
import signal
import sys
from itertools import groupby

from pretended_nccl import pretend

import harness
from harness.core.distributed import join
from harness.core.signals import Leave
from harness.methods.at import Robust
from harness.runs.execute import execute
from harness.runs.progress import Watch


def memory_ends():
    """Raise what torch raises when the CPU runs out of memory."""
    raise MemoryError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")


def told_to_leave():
    """Send SIGTERM to this process, as a scheduler does."""
    os.kill(os.getpid(), signal.SIGTERM)


FAULTS = {"none": lambda: None, "memory": memory_ends, "term": told_to_leave}


def with_fault(loss, fault):
    """Wrap the loss so that the fault happens in the third step of the second process."""
    steps = iter(range(10**6))

    def faulty(*arguments):
        if join().rank == 1 and next(steps) == 2:
            fault()
        return loss(*arguments)

    return faulty


if __name__ == "__main__":
    name, *words = sys.argv[1:]
    if name.endswith(" on GPUs"):
        pretend()
    Robust.loss = with_fault(Robust.loss, FAULTS[name.removesuffix(" on GPUs")])
    sweeps = [harness.plan(*some) for between, some in groupby(words, "--".__eq__) if not between]
    for run in [run for sweep in sweeps for run in sweep]:
        join().on_main(run.freeze)
        try:
            execute(run, Watch())
        except Leave:
            sys.exit(143)
