"""Compare what could make a walk faster, on one core: python benchmarks/walk_passes.py resnet50 --side 64 --batch 4.

The variants take turns; times are those of this process on the CPU, so that other work on the machine counts little.
Prints, for each, its time and how many times as fast it is as the walk that is named first.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from statistics import median
from unittest.mock import patch

import torch
from torch.fx.experimental.optimization import fuse
from training_step import net

from harness.core.device import keep_freed_memory
from harness.core.energy import EnergyModel
from harness.core.walk import Walk, joint_logit, walk
from harness.models.digits import Digits

Work = Callable[[], object]


def variants(asked: argparse.Namespace) -> list[dict[str, Work]]:
    """Groups of walks to compare; the first of each group is what the others are compared with."""
    torch.manual_seed(0)
    channels, side = (1, 8) if asked.net == "digits" else (3, asked.side)
    layers = Digits(10, 1, 32, "batch", "silu") if asked.net == "digits" else net(asked.net, 10)
    plain = EnergyModel(layers, (0.5,) * channels, (0.25,) * channels).eval().requires_grad_(False)
    folded = deepcopy(plain)
    folded.net = fuse(folded.net)  # each normalisation that follows a convolution becomes a part of it
    x, y = torch.rand(asked.batch, channels, side, side), torch.arange(asked.batch) % 10

    def walking(model: EnergyModel, precision: str, copies: int = 1) -> Work:
        start, labels = torch.cat([x] * copies), torch.cat([y] * copies)
        how = Walk(asked.T, 0.1, precision=precision)  # pyright: ignore[reportArgumentType]
        return lambda: walk(model, start, joint_logit(labels), how)

    def twice(work: Work) -> Work:
        return lambda: (work(), work())

    def cast_in_each_pass() -> None:
        with patch("harness.core.walk.cast_once", lambda *_: nullcontext()):
            walking(plain, "bf16")()

    once, exact = walking(plain, "bf16"), walking(plain, "fp32")
    return [
        {"bf16, weights cast in each pass": cast_in_each_pass, "bf16, weights cast once a walk": once},
        {"bf16": once, "bf16, normalisation folded": walking(folded, "bf16")},
        {"fp32": exact, "fp32, normalisation folded": walking(folded, "fp32")},
        {"fp32, two walks apart": twice(exact), "fp32, two walks as one batch": walking(plain, "fp32", 2)},
    ]


def main() -> None:
    """Time each group of walks in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", help="digits, resnet50, or wrn-DEPTH-WIDTH")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--side", type=int, default=32, help="of images; those of digits have 8")
    parser.add_argument("--T", type=int, default=10, help="steps of a walk")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for group in variants(asked):
        seconds: dict[str, list[float]] = {name: [] for name in group}
        for turn in range(asked.rounds + 1):
            for name in list(group)[:: 1 if turn % 2 else -1]:
                started = time.process_time()
                group[name]()
                if turn:  # the first turn is slower
                    seconds[name].append(time.process_time() - started)
        first, *_ = group
        for name, times in seconds.items():
            ratios = sorted(a / b for a, b in zip(seconds[first], times, strict=True))
            ratio = f"{median(ratios):.2f} [{ratios[0]:.2f}, {ratios[-1]:.2f}]"
            print(f"{name}: {1e3 * median(times):.3g} ms, {ratio} times as fast", flush=True)


if __name__ == "__main__":
    main()
