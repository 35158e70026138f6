"""Send MLflow the runs that it misses; 1 if it did not get everything."""

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
    """all: every run of the folder, in place of those that MLflow is owed, such as to fill a new server."""

    all: bool = False


def run(request: Request) -> int:
    """Send them."""
    root = Path(request.config.runs).absolute()
    if request.arguments.all:
        for folder in folders(root):
            enqueue(load(folder))
    sent, left = tracking.sync(root, tracking=request.config.tracking)
    console.print(f"MLflow: {sent} runs sent, {left} still to be sent.", markup=False, soft_wrap=True)
    return 1 if left else 0
