"""Time a training step of small nets with one and with two CPU threads: python benchmarks/threads.py [ROUNDS].

Both take turns, step by step, in one process. Prints a markdown table; above 1, two threads are faster.
"""

import os
import sys
import time
from statistics import median

import torch

import harness
from harness.core.device import keep_freed_memory
from harness.runs.build import stage_inputs, untrained
from harness.training.step import Step

CASES = (
    ("model=digits", "method=standard"),
    ("model=small", "data=fashion_mnist", "method=standard"),
    ("model=digits", "method=at"),
    ("model=small", "data=fashion_mnist", "method=at"),
)


def main(rounds: int) -> None:
    """Print a row for each case."""
    keep_freed_memory()
    print(f"{rounds} rounds; at the start, {os.getloadavg()[0]:.1f} processes wanted {os.cpu_count()} cores\n")
    print("| step | 1 thread, s | 2 threads, s | 1 thread / 2 threads |\n| --- | --- | --- | --- |")
    for case in CASES:
        print(row(case, rounds), flush=True)


def row(case: tuple[str, ...], rounds: int) -> str:
    """Time the steps of the first stage of a run."""
    (run,) = harness.plan(*case, "tracking=off")
    name, stage = next(iter(run.method.stages.items()))
    step = Step(stage, untrained(run), stage_inputs(run, name, stage, torch.device("cpu")))
    batches = step.batches()
    step(*next(batches))  # the first step also allocates the optimiser's buffers
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds):
        number, batch = next(batches)
        for threads in (1, 2) if turn % 2 else (2, 1):
            torch.set_num_threads(threads)
            started = time.perf_counter()
            step(number, batch)
            seconds[threads].append(time.perf_counter() - started)
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    ratio = f"{median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
    return f"| {' '.join(case)} | {median(seconds[1]):.3f} | {median(seconds[2]):.3f} | {ratio} |"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
