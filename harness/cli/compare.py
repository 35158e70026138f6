"""Compare two runs that were evaluated on the same images, image by image."""

from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import console
from harness.reports import compare

WORDS = ("RUN", "RUN")


def run(request: Request) -> None:
    """Print where the runs differ, and how far the comparison can be trusted."""
    root = Path(request.config.runs)
    (name_a, record_a), (name_b, record_b) = (compare.read_record(word, root) for word in request.words)
    console.print(compare.table(record_a, record_b))
    for side, name, record in (("A", name_a, record_a), ("B", name_b, record_b)):
        console.print(" ".join([f"{side}: {name}", *record.overrides]), markup=False, soft_wrap=True)
    for line in filter(None, [compare.kinship(record_a, record_b), *compare.doubts(record_a, record_b), compare.NOTES]):
        console.print(line, markup=False, soft_wrap=True)
