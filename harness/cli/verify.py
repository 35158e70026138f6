"""Recompute parts of a run's record from its weights or samples, and report whether they agree."""

import random
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.table import Table

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.settings import settings
from harness.runs import archive, trust
from harness.runs.reopen import UNSAID, adopt, reopen
from harness.runs.run import Run
from harness.runs.verify import Shards, circumstances, verify

WORDS = ("RUN|FILE",)
EXAMPLE = "atjem-digits-s0-c1a31312.zip shards=3"
PARTS = UNSAID


@settings
class Arguments:
    """shards: number of shards of each metric to recompute, chosen at random (all: every shard).

    choice: the seed of this choice (null: a random seed, which is printed).
    """

    shards: Shards = 2
    choice: int | None = None

    def __post_init__(self) -> None:
        if self.shards != "all" and self.shards < 1:
            raise ValueError("shards must be 1 or more, or all")


def run(request: Request) -> int:
    """Verify a run, or all runs of an archive; return 1 if something differs, or if no metric could be compared."""
    (word,) = request.words
    if not Path(word).is_file():
        return _verify(reopen(word, request.overrides), request.arguments, keep=True)
    # An archive is unpacked beside the runs, whose cache may hold what metrics need, and removed again.
    own = partial(adopt, overrides=request.overrides, verb="verify", typed=request.typed)
    root = Path(request.config.runs).absolute()
    root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=root, prefix=".verify-") as scratch:
        runs = archive.read(Path(word), Path(scratch), own)
        Path(scratch, "cache").symlink_to(root / "cache")
        (root / "cache").mkdir(exist_ok=True)
        return max([_verify(one, request.arguments, keep=False) for one in runs])


def _verify(one: Run, arguments: Arguments, keep: bool) -> int:
    """Verify one run and print what was compared; `keep`: write it beside the record. Returns the exit status."""
    seed = random.SystemRandom().randrange(2**31) if arguments.choice is None else arguments.choice
    with console.status("") as shown:
        found = verify(one, arguments.shards, seed, lambda what: shown.update(f"{one.name}: {what}"))
    table = Table("what", "result", "over", title=one.name)
    for line in found.comparisons:
        table.add_row(line.what, line.result, line.over)
    console.print(table)
    for line in (line for line in found.comparisons if line.note):
        console.print(f"{line.what} {line.result}: {line.note}", soft_wrap=True)
    # Say what the result is worth.
    if found.passed:
        console.print(f"Verified, for the parts in the table (choice={seed}).")
    elif found.differing:
        different = "; ".join(circumstances(one)) or "none found"
        console.print(f"Different: {', '.join(line.what for line in found.differing)} (choice={seed}).")
        console.print(f"Differences from where the record was made: {different}.", soft_wrap=True)
    else:
        console.print("Not verified: no metric could be compared.")
    if keep:
        console.print(f"Written: {trust.write(one.folder, found)}", soft_wrap=True)
    return 0 if found.passed else 1
