"""Train and evaluate the runs of an archive again with the code of this checkout, and compare the scores.

The archive's copy of the code is never executed. The new runs are saved in the folder of runs like any others. After an
interruption the same command continues; once the runs are done, it shows the comparison again.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from harness.cli.request import Request
from harness.cli.run import run_all
from harness.cli.tables import console
from harness.core.errors import UserError
from harness.reports import compare
from harness.runs import archive, record, trust
from harness.runs.record import Record
from harness.runs.reopen import adopt, own_runs
from harness.runs.run import Run
from harness.runs.verify import circumstances

WORDS = ("FILE",)
EXAMPLE = "atjem-digits-s0-c1a31312.zip runs=again"


def run(request: Request) -> int:
    """Run them again and print a comparison for each that is done on both sides; return 1 if one failed."""
    (word,) = request.words
    own = partial(adopt, overrides=request.overrides, verb="rerun", typed=request.typed)
    root = own_runs(request.overrides)
    # Read their records, and what is other here than where they were made; the rest of the archive is not kept.
    with TemporaryDirectory() as scratch:
        unpacked = archive.read(Path(word), Path(scratch), own)
        theirs = {one.name: record.read(one.folder / "record.json") for one in unpacked}
        other = {one.name: circumstances(one) for one in unpacked}
    for name, found in theirs.items():
        if found.state != "done":
            raise UserError(f"{name} of {word} has no scores to compare with: its state is {found.state}.")
    # Run the same configs, by the names that they have here.
    ours = {one.name: Run(replace(one.config, runs=str(root))) for one in unpacked}
    for again in ours.values():
        if trust.is_imported(again.folder):
            raise UserError(f"{again.folder} was imported and is not your own run: use another folder, runs=FOLDER.")
    status = run_all([*ours.values()])
    for name, again in ours.items():
        if again.state == "done":
            _compare(name, theirs[name], again, other[name])
    return status


def _compare(name: str, theirs: Record, again: Run, other: list[str]) -> None:
    """Print how the scores of a run differ from those of the archive, and what may explain it."""
    here = record.read(again.folder / "record.json")
    console.print(f"A: {name} of the archive. B: {again.name} in {again.root}.", markup=False, soft_wrap=True)
    console.print(compare.table(theirs, here))
    # Identical weights settle it: no difference comes from the training.
    before, now = (_weights(side) for side in (theirs, here))
    if before and all(before.values()):
        console.print(f"The trained weights are {'identical' if now == before else 'not identical'}.")
    if other:
        console.print(f"Differences from where A was made: {'; '.join(other)}.", markup=False, soft_wrap=True)
    console.print(compare.NOTES, markup=False, soft_wrap=True)


def _weights(found: Record) -> dict[str, str]:
    """The digest of each stage's weights; empty where an older version noted none, or where nothing was trained."""
    return {stage.name: stage.weights for stage in found.cost.stages} if found.cost else {}
