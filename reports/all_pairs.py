"""All pairs of methods of a leaderboard page, score by score, as tables of the command line."""

from collections.abc import Iterator

from rich.table import Table

from harness.reports.section import Section
from harness.reports.significance import ALPHA, MOST

NOTES = f"""\
A − B: mean over the seeds that both have, with its 95 % interval for other seeds and other images (paired bootstrap, \
Student's t). Scores that are not of images are tested over seeds alone.
p: of no difference, two-sided. Holm: p after Holm's correction over all pairs of the table; below {ALPHA:.2g} (*) A \
and B differ.
The figure of ranks over all scores is on the pages that python -m harness report writes."""


def tables(section: Section) -> Iterator[Table]:
    """Yield a table for each score of the main table that has pairs to test, the surest differences first."""
    labels = {one.key: one.label for one in section.series}
    for key, comparison in section.comparisons.items():
        score, adjusted = section.scores[key], comparison.adjusted
        if score.table or not comparison.tests:
            continue
        unit = f", {score.unit}" if score.unit else ""
        title = f"{section.heading}: {score.title}{unit} ({score.better} is better)"
        table = Table("A", "B", "A − B", "p", "Holm", "seeds", title=title)
        for pair, test in sorted(comparison.tests.items(), key=lambda item: item[1].p):
            low, high = test.interval
            digits = 2 if score.unit or abs(test.mean) >= 1 else 3
            difference = f"{test.mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
            corrected = f"{adjusted[pair]:.2g}{' *' * (adjusted[pair] < ALPHA)}"
            table.add_row(*(labels[one] for one in pair), difference, f"{test.p:.2g}", corrected, str(test.seeds))
        yield table


def untested(section: Section) -> Iterator[str]:
    """Yield a line for each method of which nothing can be said, and one if a page has too many methods."""
    tested = {key for comparison in section.comparisons.values() for pair in comparison.tests for key in pair}
    if any(comparison.too_many for comparison in section.comparisons.values()):
        yield f"{section.heading}: of more than {MOST} methods the pairs are not tested."
        return
    for one in section.series:
        done = len(one.done)
        if one.barred:
            yield f"{one.label}: not ranked, and so not compared."
        elif done < 2:
            yield f"{one.label}: with {done or 'no'} seed{'s' * (not done)} done, nothing can be said."
        elif one.key not in tested:
            yield f"{one.label}: no other method has two seeds in common with it, so nothing can be said."
