"""Compare two runs that were evaluated on the same images, image by image."""

from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import console
from harness.reports import compare

WORDS = ("RUN", "RUN")


def run(request: Request) -> None:
    """Print where the runs differ, and how far the comparison can be trusted."""
    root = Path(request.config.runs)
    (name, one), (other_name, other) = (compare.read_record(word, root) for word in request.words)
    console.print(compare.table(one, other))
    for side, called, of in (("A", name, one), ("B", other_name, other)):
        console.print(" ".join([f"{side}: {called}", *of.overrides]), markup=False, soft_wrap=True)
    for line in filter(None, [compare.kinship(one, other), *compare.doubts(one, other), compare.NOTES]):
        console.print(line, markup=False, soft_wrap=True)
