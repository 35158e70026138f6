"""Show what a folder of runs holds besides its results; remove=samples,parts removes files of these kinds."""

from pathlib import Path

from rich.table import Table

from harness.cli.request import Request
from harness.cli.tables import console, relative, tell
from harness.core.settings import settings
from harness.cost.disk import size
from harness.runs.prune import COSTS, KINDS, holdings, remove

EXAMPLE = "remove=parts,caches"


@settings
class Arguments:
    """remove: one or more of checkpoints, samples, parts, buffers, caches, orphans. By default, nothing is removed.

    Files that a process is working on are kept.
    """

    remove: tuple[str, ...] = ()


def run(request: Request) -> int:
    """Show, and remove; return 3 if a run cannot be read."""
    root = Path(request.config.runs).absolute()
    found, faults = holdings(root)
    freed = remove(found, request.arguments.remove, lambda one: console.print(f"Removed: {relative(one.path)}"))
    # Show what is there, or what was freed.
    table = Table("kind", "in", "bytes", "busy", "cost of removal", title=relative(root))
    for kind in KINDS:
        own = [one for one in found if one.kind == kind]
        busy = sum(one.busy for one in own)
        table.add_row(kind, f"{len(own)}", size(sum(one.bytes for one in own)), f"{busy}", COSTS[kind])
    console.print(f"Freed: {size(freed)}" if request.arguments.remove else table)
    if faults:
        console.print("These runs cannot be read, so no stage counts as an orphan:")
    return tell(faults)
