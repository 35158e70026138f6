"""Show what a folder of runs holds beside its results, and remove what is asked for: remove=samples,parts."""

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
    """remove: checkpoints, samples, parts, buffers, caches, orphans; or several of them. Nothing is removed without.

    What a process works on is left alone.
    """

    remove: tuple[str, ...] = ()


def run(request: Request) -> int:
    """Show, and remove; return 3 if a run cannot be read."""
    root = Path(request.config.runs).absolute()
    found, faults = holdings(root)
    freed = remove(found, request.arguments.remove, lambda one: console.print(f"Removed: {relative(one.path)}"))
    # Show what is there, or what was freed.
    table = Table("kind", "in", "bytes", "busy", "what its removal costs", title=relative(root))
    for kind in KINDS:
        own = [one for one in found if one.kind == kind]
        busy = sum(one.busy for one in own)
        table.add_row(kind, f"{len(own)}", size(sum(one.bytes for one in own)), f"{busy}", COSTS[kind])
    console.print(f"Freed: {size(freed)}" if request.arguments.remove else table)
    if faults:
        console.print("As these runs cannot be read, no stage counts as an orphan:")
    return tell(faults)
