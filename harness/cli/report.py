"""Write the leaderboard of all runs of a folder, as markdown, HTML, CSV and LaTeX, with figures."""

from typing import Literal

from harness.cli.request import Request
from harness.cli.tables import console, tell
from harness.core.settings import settings
from harness.reports import leaderboard

EXAMPLE = "source=mlflow"


@settings
class Arguments:
    """source: read the runs from their folders or from MLflow; the pages are the same."""

    source: Literal["folders", "mlflow"] = "folders"


def run(request: Request) -> int:
    """Write the leaderboard and print its overview; return 3 if something could not be read."""
    page, faults = leaderboard.write(request.config, request.arguments.source)
    console.print(page.read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    console.print(f"Written: {page}", soft_wrap=True)
    return tell(faults)
