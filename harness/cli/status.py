"""Show the progress of all runs of a folder; --watch refreshes it until none is queued or running."""

import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from rich.live import Live

from harness.cli.request import Request
from harness.cli.tables import console, status_table, tell
from harness.core.settings import settings
from harness.core.text import counted
from harness.launch.status import Jobs, StatusRow, rows, stage_folders, stages, summary
from harness.runs.folder import OVER, Fault
from harness.runs.run import folders

EVERY = 2
"""Seconds between two reads of the disk."""

MANY = 100
"""With more runs than this, those that are over are hidden."""

PER_QUESTION = 10
"""Reads of the disk for each query to SLURM, whose controller is shared with others."""


EXAMPLE = "watch=true"


@settings
class Arguments:
    """watch: refresh until nothing is queued or running. all: show ended runs too, even if there are many."""

    watch: bool = False
    all: bool = False


def run(request: Request) -> int:
    """Show the runs once, or watch them; return 3 if something cannot be read."""
    root = Path(request.config.runs)
    return watch(root) if request.arguments.watch else look(root, request.arguments.all)


def look(root: Path, every: bool = False) -> int:
    """Show the progress of the runs of a folder; `every`: also those that are over, however many there are.

    Returns the exit status.
    """
    jobs = _jobs(root)
    shared, runs = _rows(root, jobs)
    visible = runs if every or len(runs) <= MANY else [row for row in runs if row.state not in OVER]
    console.print(status_table([*shared, *visible], summary(runs)))
    if len(visible) < len(runs):
        console.print(f"Hidden: {counted(len(runs) - len(visible), 'ended run')}; all=true shows them.")
    if jobs.silence:
        console.print(f"Information from SLURM is missing: {jobs.silence}", markup=False, soft_wrap=True)
    return tell(Fault(row.name, row.error) for row in (*shared, *runs) if row.state == "unreadable")


def watch(root: Path) -> int:
    """Show the runs that are still going, as many as fit, until there are none or until Ctrl-C; then show all.

    Returns the exit status.
    """
    with suppress(KeyboardInterrupt), Live(console=console, transient=True, auto_refresh=False) as live:
        jobs = Jobs()
        for turn in count():
            jobs = jobs if turn % PER_QUESTION else _jobs(root)
            shared, runs = _rows(root, jobs)
            going = [row for row in (*shared, *runs) if row.going]
            if not going:
                break
            live.update(status_table(going[: console.height - 6], summary(runs)), refresh=True)
            time.sleep(EVERY)
    return look(root)


def _jobs(root: Path) -> Jobs:
    return Jobs.asked([*folders(root), *stage_folders(root)])


def _rows(root: Path, jobs: Jobs) -> tuple[list[StatusRow], list[StatusRow]]:
    """Return the rows of shared stages and the rows of runs."""
    return stages(root, jobs), rows(folders(root), jobs)
