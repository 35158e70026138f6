"""Compare two runs that were evaluated on the same images; without run names, compare all methods.

All methods: those of each leaderboard page are tested in pairs, for each score, over their seeds and images.
"""

from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import WIDE, console, tell
from harness.reports import compare

WORDS = ("[RUN", "RUN]")


def run(request: Request) -> int:
    """Print where the runs, or all methods, differ, and how far the comparison can be trusted."""
    if not request.words:
        return _compare_all(request)
    root = Path(request.config.runs)
    (name_a, record_a), (name_b, record_b) = (compare.read_record(word, root) for word in request.words)
    table = compare.table(record_a, record_b)
    if console.width < WIDE:  # leave more room for the words of the scores
        table.padding = (0, 1, 0, 0)
        table.columns[0].width = max(len(word) for cell in table.columns[0].cells for word in str(cell).split())
    console.print(table)
    for side, name, record in (("A", name_a, record_a), ("B", name_b, record_b)):
        console.print(" ".join([f"{side}: {name}", *record.overrides]), markup=False, soft_wrap=True)
    for line in filter(None, [compare.kinship(record_a, record_b), *compare.doubts(record_a, record_b), compare.NOTES]):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    return 0


def _compare_all(request: Request) -> int:
    """Print the tests of all pairs of methods, page by page and score by score; return the exit status."""
    # These import pandas, which a comparison of two runs does not need.
    from harness.reports import all_pairs, leaderboard, rows

    found, faults = rows.find_rows(request.config)
    for section in leaderboard.make_sections(found):
        for table in all_pairs.tables(section):
            console.print(table)
        for line in all_pairs.untested(section):
            console.print(line, markup=False, soft_wrap=True)
    console.print(all_pairs.NOTES, markup=False, soft_wrap=not console.is_terminal)
    return tell(faults)
