"""Cancel queued or running runs, on this machine or on SLURM."""

from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import console, tell
from harness.core.settings import settings
from harness.launch.cancel import cancel
from harness.runs.folder import Fault

WORDS = ("RUN …",)
EXAMPLE = "all=true"


@settings
class Arguments:
    """all: cancel every queued or running run, instead of named runs."""

    all: bool = False


def run(request: Request) -> int:
    """End the runs; return 3 if something could not be read."""
    answers = cancel(list(request.words), Path(request.config.runs), request.arguments.all)
    for line in answers:
        if not isinstance(line, Fault):
            console.print(line, markup=False, soft_wrap=True)
    return tell(line for line in answers if isinstance(line, Fault))
