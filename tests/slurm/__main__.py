"""Play every scenario, or only the named ones, on a cluster on this machine, and write their table: make scenarios."""

import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import again
import scenarios
from cluster import NODES, Cluster, call
from desk import undisturbed
from sweep import sweep

PAGE = Path(__file__).parents[2] / "reports" / "slurm-scenarios.md"
"""The output page, ignored by git; docs/slurm-scenarios.md is a copy of it."""

AT_ONCE = 4
"""Number of scenarios at the same time; most of them wait most of the time."""

Scenario = Callable[[Path, Cluster], str]

TOGETHER: list[Scenario] = [
    scenarios.out_of_time,
    again.same_command_again,
    scenarios.preemption,
    scenarios.node_down_and_back,
    scenarios.a_process_vanishes,
    scenarios.scancel,
    scenarios.second_of_two_fails,
    scenarios.two_nodes,
    again.killed_while_submitting,
    scenarios.array_of_four,
    scenarios.a_job_raises,
    again.two_at_once,
    again.in_waves,
]
"""Scenarios that do not disturb one another."""

ALONE: list[Scenario] = [again.controller_down, sweep]
"""Scenarios that need the cluster for themselves."""


@dataclass
class Row:
    """A row of the table."""

    name: str
    done: str
    saw: str
    passed: bool
    seconds: float

    def __str__(self) -> str:
        cells = (self.name, self.done, self.saw.replace("|", "\\|"), "yes" if self.passed else "**no**")
        return f"| {' | '.join(cells)} |"


def play(scenario: Scenario, folder: Path, cluster: Cluster) -> Row:
    """Play a scenario; report a fault in it at once."""
    begun, name = time.monotonic(), scenario.__name__
    try:
        saw, passed = scenario(folder / name, cluster), True
    except Exception as error:
        saw, passed = str(error).partition("\n")[0], False
        traceback.print_exc()
    row = Row(name.replace("_", " "), str(scenario.__doc__).partition("\n")[0], saw, passed, time.monotonic() - begun)
    print(row, f"{row.seconds:.0f} s", flush=True)
    return row


def main() -> int:
    """Play all scenarios, or the named ones; return 1 if one fails."""
    every = [*TOGETHER, *ALONE]
    wanted = [scenario for scenario in every if not sys.argv[1:] or scenario.__name__ in sys.argv[1:]]
    with tempfile.TemporaryDirectory(prefix="scenarios-") as scratch, Cluster() as cluster:
        folder = Path(scratch)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            reference = pool.submit(undisturbed, folder / "undisturbed")
            first = [pool.submit(play, scenario, folder, cluster) for scenario in wanted if scenario in TOGETHER]
        reference.result()
        rows = [row.result() for row in first]
        rows += [play(scenario, folder, cluster) for scenario in wanted if scenario not in TOGETHER]
        version = call("slurmctld", "-V").split()[1]
    if wanted == every:
        PAGE.write_text(page(rows, version), encoding="utf-8")
    return int(not all(row.passed for row in rows))


def page(rows: list[Row], version: str) -> str:
    """The page with the table, and the versions that it was made with."""
    return f"""# What a cluster does to jobs

Written by `make scenarios`: SLURM {version} with {len(NODES)} nodes and accounts, on one machine; tiny runs on digits.
"The same record" is equal in every number to that of a run in one process that nothing happened to.

| scenario | what was done | what a user saw | passed |
| --- | --- | --- | --- |
{chr(10).join(map(str, rows))}
"""


if __name__ == "__main__":
    sys.exit(main())
