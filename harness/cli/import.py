"""Import runs from archives into a folder of runs; your paths, launcher and tracking replace those of the runs."""

from functools import partial
from pathlib import Path

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.errors import UserError
from harness.runs import archive
from harness.runs.reopen import adopt, own_runs

WORDS = ("FILE …",)
EXAMPLE = "atjem-digits-s0-c1a31312.zip runs=theirs"


def run(request: Request) -> None:
    """Import the archives."""
    if not request.words:
        raise UserError(f"import needs archives, such as: python -m harness import {EXAMPLE}")
    own = partial(adopt, overrides=request.overrides, verb="import", typed=request.typed)
    root = own_runs(request.overrides)
    for word in request.words:
        for added in archive.read(Path(word), root, own):
            console.print(f"Imported: {added.folder} (not verified)", markup=False, soft_wrap=True)
