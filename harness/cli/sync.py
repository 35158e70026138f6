"""Send MLflow the runs that it lacks; exit status 1 if some could not be sent, 3 if some cannot be read."""

from pathlib import Path

from harness import tracking
from harness.cli.request import Request
from harness.cli.tables import console, tell
from harness.core.settings import settings
from harness.core.text import counted
from harness.runs.folder import Fault, readable
from harness.runs.run import folders, load
from harness.tracking.outbox import enqueue
from harness.tracking.store import enabled, uri

EXAMPLE = "tracking=http://127.0.0.1:5000 all=true"


@settings
class Arguments:
    """all: send every run of the folder, not only those that MLflow lacks, for example to fill a new server.

    Runs that were made with tracking=off are skipped.
    """

    all: bool = False


def run(request: Request) -> int:
    """Send the runs."""
    if request.config.tracking:
        uri(request.config)  # refused here, once, if it is none
    root = Path(request.config.runs).absolute()
    folders(root)  # refused if there is no such folder
    faults = set(_enqueue_all(root) if request.arguments.all else [])
    sent, remaining = tracking.sync(root, tracking=request.config.tracking, meet=faults.add)
    console.print(f"MLflow: {counted(sent, 'run')} sent, {remaining} still to be sent.", markup=False, soft_wrap=True)
    return tell(sorted(faults)) or int(remaining > 0)


def _enqueue_all(root: Path) -> list[Fault]:
    """Mark all tracked runs of a folder as still to be sent; return those that cannot be read."""

    def mark(folder: Path) -> None:
        if enabled((run := load(folder)).config):
            enqueue(run)

    answers = [readable(folder, mark) for folder in folders(root)]
    return [answer for answer in answers if answer is not None]
