"""Compare AutoAttack that searches in fp32 with one that searches in a lower precision, on trained runs.

    python benchmarks/search_precision.py RUN RUN --images 100 --precision bf16 --attacks apgd-ce apgd-t

The first attack of the run's protocol, on evenly many images of each class. Both searches take turns, chunk by chunk.
Prints for each run: robust accuracy of both, the images that only one of them breaks, and the ratio of their times.
"""

import argparse
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import harness  # noqa: F401 - first, as it prepares what torchvision needs
from harness.core.device import full_precision
from harness.evaluation.metrics.robustness import STANDARD, Robustness
from harness.evaluation.metrics.searched import Searched
from harness.runs.build import evaluation_of

CHUNK = 25
"""Number of images in a chunk; the searches take turns after each."""


def main() -> None:
    """Attack the images of each run twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--precision", choices=("bf16", "tf32"), default="bf16")
    parser.add_argument("--attacks", nargs="+", choices=STANDARD, default=STANDARD, help="in AutoAttack's order")
    args = parser.parse_args()
    print(
        "| run | images | robust, fp32 | robust, searched | only fp32 breaks | only searched breaks | fp32 / searched |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for folder in args.runs:
        print(compare(folder, args.images, args.precision, args.attacks), flush=True)


def compare(folder: Path, images: int, precision: Literal["tf32", "bf16"], attacks: list[str]) -> str:
    """A row of the table."""
    evaluation = evaluation_of(folder.absolute(), 0)
    subject = evaluation.subject
    attack = next(metric for metric in evaluation.listed.values() if isinstance(metric, Robustness))
    attack = replace(attack, count=images, balanced=True, chunk=CHUNK, attacks=tuple(attacks))
    given = {entry.name: getattr(attack, entry.name) for entry in fields(Robustness)}
    both = {"fp32": attack, precision: Searched(**given, search_precision=precision)}
    stands, seconds = dict.fromkeys(both, ""), dict.fromkeys(both, 0.0)
    ratios = list[float]()
    with full_precision():
        for shard in range(attack.shards(subject)):
            took = dict[str, float]()
            for name in list(both) if shard % 2 else list(reversed(both)):
                started = time.perf_counter()
                part = both[name].score(subject, shard)
                took[name] = time.perf_counter() - started
                stands[name] += part["outcomes"][attack.attacks[-1]]
                seconds[name] += took[name]
            ratios.append(took["fp32"] / took[precision])
    n = len(stands["fp32"])
    pairs = [*zip(stands["fp32"], stands[precision], strict=True)]
    robust = [f"{100 * stands[name].count('1') / n:.1f} %" for name in both]
    ratio = f"{seconds['fp32'] / seconds[precision]:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"
    cells = [folder.name, n, *robust, pairs.count(("0", "1")), pairs.count(("1", "0")), ratio]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
