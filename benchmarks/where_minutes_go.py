"""Where the time of runs goes, from the first step to the record: python benchmarks/where_minutes_go.py OVERRIDES…

Without overrides, those of `make demo`. Prints a markdown table: processor seconds of each phase, by method. The runs
stand in a folder of their own, which is removed.
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import harness
from harness.launch.jobs import freeze
from harness.runs.execute import execute
from harness.runs.progress import Watch
from harness.runs.run import Run
from harness.training.loop import Progress

DEMO = ("method=atjem,jem,at,generative",)

REST = "all else: loading, references, pictures, the record"


class Phases(Watch):
    """Adds up the processor seconds of this process by what the run says that it does."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.what, self.since = REST, time.process_time()

    def training(self, run: Run, stage: str, progress: Progress) -> None:
        """A training step was taken."""
        self.turn_to("training")

    def working(self, run: Run, what: str, done: int, total: int, words: str) -> None:
        """Some pieces of sampling or evaluation are done."""
        self.turn_to("choice of the sampler's steps" if what.startswith("samples of") else what)

    def turn_to(self, what: str) -> None:
        """End a phase and begin another."""
        now = time.process_time()
        self.seconds[self.what] += now - self.since
        self.what, self.since = what, now


def main(overrides: Sequence[str]) -> None:
    """Execute the runs one after another and print the table."""
    spent: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for run in harness.plan(*overrides, f"runs={Path(folder) / 'runs'}", "tracking=off", "threads=1"):
            (left,), phases = freeze([run]), Phases()
            execute(left, phases)
            phases.turn_to(REST)
            spent[run.config.method["name"]] = phases.seconds
    rows = list(dict.fromkeys(phase for seconds in spent.values() for phase in seconds))
    rows.sort(key=lambda phase: -sum(seconds[phase] for seconds in spent.values()))
    whole = sum(sum(seconds.values()) for seconds in spent.values())
    print(f"| processor seconds | {' | '.join(spent)} | share |\n| --- |{' --- |' * (len(spent) + 1)}")
    for phase in rows:
        share = sum(seconds[phase] for seconds in spent.values()) / whole
        print(f"| {phase} | {' | '.join(f'{seconds[phase]:.1f}' for seconds in spent.values())} | {share:.0%} |")
    sums = [sum(seconds.values()) for seconds in spent.values()]
    print(f"| all | {' | '.join(f'{seconds:.1f}' for seconds in sums)} | {whole:.0f} s |")


if __name__ == "__main__":
    main(sys.argv[1:] or DEMO)
