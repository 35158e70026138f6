"""Send MLflow the runs that it misses; exit status 1 if some could not be sent."""

from pathlib import Path

from harness import tracking
from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.settings import settings
from harness.runs.run import folders, load
from harness.tracking.outbox import enqueue

EXAMPLE = "tracking=http://127.0.0.1:5000 all=true"


@settings
class Arguments:
    """all: send every run of the folder, not only those that MLflow misses, for example to fill a new server."""

    all: bool = False


def run(request: Request) -> int:
    """Send the runs."""
    root = Path(request.config.runs).absolute()
    if request.arguments.all:
        for folder in folders(root):
            enqueue(load(folder))
    sent, remaining = tracking.sync(root, tracking=request.config.tracking)
    console.print(f"MLflow: {sent} runs sent, {remaining} still to be sent.", markup=False, soft_wrap=True)
    return 1 if remaining else 0
