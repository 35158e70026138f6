"""Time a run on the digits from its command to the end of its first step: python benchmarks/first_step.py [TIMES].

Prints markdown tables: the seconds, those of one processor too, as the machine may be busy, and what Python imported
on the way, by package. The first of the times begins without kept answers.
"""

import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median

from commands import taken

RUN = """\
import os, sys
from harness.cli.main import main
from harness.training.step import Step
step = Step.__call__
def first(*given):
    step(*given)
    os._exit(0)
Step.__call__ = first
sys.argv[1:] = ["method=at", "tracking=off"]
main()
"""
"""A command that ends with its first step."""

LINE = re.compile(r"import time: +(\d+) \| +\d+ \| +([\w.]+)")
"""A line of -X importtime: microseconds of the module itself, and its name."""

SHOWN = 12
"""Packages that the table shows."""


def begin(kept: Path, *options: str) -> tuple[float, float, str]:
    """Start a run in a new folder; return seconds, processor seconds and what it printed on stderr."""
    with tempfile.TemporaryDirectory() as folder:
        return taken([*options, "-c", RUN], Path(folder), kept)


def main() -> None:
    """Print both tables."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        first, *later = (begin(place)[:2] for _ in range(times + 1))
        print("| first step of a run | seconds | of one processor |\n| --- | --- | --- |")
        print(f"| nothing kept | {first[0]:.1f} | {first[1]:.1f} |")
        cells = [f"{median(each):.1f} [{min(each):.1f}, {max(each):.1f}]" for each in zip(*later, strict=True)]
        print(f"| kept answers | {' | '.join(cells)} |")
        _, _, text = begin(place, "-X", "importtime")
    taken: Counter[str] = Counter()
    for own, module in LINE.findall(text):
        top, _, rest = module.partition(".")
        taken[f"{top}.{rest.partition('.')[0]}" if rest.startswith("_dynamo") else top] += int(own)
    print(f"\n| package | seconds of import, of {sum(taken.values()) / 1e6:.1f} |\n| --- | --- |")
    for package, microseconds in taken.most_common(SHOWN):
        print(f"| {package} | {microseconds / 1e6:.2f} |")


if __name__ == "__main__":
    main()
