"""What the processes of a world do in tests: python -m torch.distributed.run … in_a_world.py RUNS FAULT OVERRIDE…"""

import sys

import harness
from harness.execute import Silent, execute
from harness.methods.at import Robust
from harness.ranks import join


def faulty(loss):
    """The loss, but for the third step of the second process, where memory ends."""
    steps = iter(range(10**6))

    def failing(*arguments):
        if join().rank == 1 and next(steps) == 2:
            raise MemoryError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes")
        return loss(*arguments)

    return failing


if __name__ == "__main__":
    root, fault, *overrides = sys.argv[1:]
    if fault == "fault":
        Robust.loss = faulty(Robust.loss)
    for run in harness.plan(*overrides, f"runs={root}"):
        join().once(run.freeze)
        execute(run, Silent())
