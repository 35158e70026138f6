"""Show the last lines that a run's jobs printed."""

from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.settings import settings
from harness.launch.logs import job_of, tails

WORDS = ("RUN",)
EXAMPLE = "atjem-digits-s0-c1a31312 lines=100"


@settings
class Arguments:
    """lines: how many lines to show from the end of each log."""

    lines: int = 50

    def __post_init__(self) -> None:
        if self.lines < 1:
            raise ValueError("lines must be 1 or more")


def run(request: Request) -> None:
    """Print the lines."""
    for line in tails(job_of(request.words[0], Path(request.config.runs)), request.arguments.lines):
        console.print(line, markup=False, soft_wrap=True)
