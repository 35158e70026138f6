"""End runs that are queued or running, here or on SLURM."""

from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.settings import settings
from harness.launch.cancel import cancel

WORDS = ("RUN …",)
EXAMPLE = "all=true"


@settings
class Arguments:
    """all: every run that is queued or running, instead of named runs."""

    all: bool = False


def run(request: Request) -> None:
    """End the runs."""
    for line in cancel(list(request.words), Path(request.config.runs), request.arguments.all):
        console.print(line, markup=False, soft_wrap=True)
