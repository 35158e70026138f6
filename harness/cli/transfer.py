"""Attack runs and let each classify the adversarial images of all: a matrix of robust accuracies.

The attack is that of the runs' protocol. Rows are the attacked runs, columns those that judge. Images that withstand
the attack are passed on unchanged. All are kept in the folder of the attacked run, so that the second call is quick.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from string import ascii_uppercase

from rich.table import Table

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.errors import UserError
from harness.core.files import atomic_write
from harness.core.settings import settings
from harness.evaluation.metrics.robustness import STANDARD
from harness.evaluation.score import Score
from harness.runs import fetch
from harness.runs.reopen import UNSAID, reopen
from harness.runs.run import Run
from harness.runs.transfer import Matrix, transfer

WORDS = ("RUN", "RUN…")
EXAMPLE = "atjem-digits-s0-c1a31312 at-digits-s0-5a3c1d7e n=100"
PARTS = UNSAID


@settings
class Arguments:
    """attack: the entry of the protocol (default: its first robust accuracy). n: number of images, evenly spaced.

    out: the CSV file for the numbers (default: transfer.csv in the folder of reports).
    """

    attack: str | None = None
    n: int = 500
    out: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("n must be 1 or more")


def run(request: Request) -> None:
    """Print the matrix, and write it."""
    asked, names = request.arguments, list(ascii_uppercase)
    runs = [_reopen(word, request.overrides) for word in request.words]
    if not 2 <= len({one.folder for one in runs}) == len(runs) <= len(names):
        raise UserError(
            f"transfer takes 2 to {len(names)} different runs, such as: python -m harness transfer {EXAMPLE}"
        )
    with console.status("") as shown:
        found = transfer(runs, asked.attack, asked.n, shown.update)
    path = Path(asked.out) if asked.out else Path(request.config.reports) / "transfer.csv"
    _write(path, found)

    # Print the matrix under short names, which are explained below it.
    attack, called = found.attack, dict(zip(found.runs, names, strict=False))
    by = "AutoAttack" if attack.attacks == STANDARD else " and ".join(name.upper() for name in attack.attacks)
    title = f"Accuracy, %: {by}, {attack.norm} {attack._radius}, {found.clean[0].n} {attack.split} images"
    table = Table("attacked", *(f"{name} judges" for name in called.values()), title=title)
    table.add_row("none", *map(_cell, found.clean))
    for name, row in zip(called.values(), found.rows, strict=True):
        table.add_row(name, *map(_cell, row))
    console.print(table)
    lines = [f"{name}: {one}" for one, name in called.items()]
    lines += [
        f"{called[name]} draws random numbers and was attacked by AutoAttack's version rand." for name in found.drawing
    ]
    lines += [
        f"Images made against {called[attacked]} break more of {called[judged]} than its own attack does, beyond the "
        f"95 % interval: the gradients of {called[judged]} may be masked."
        for attacked, judged in found.masked
    ]
    for line in [*lines, f"Written: {path}"]:
        console.print(line, markup=False, soft_wrap=True)


def _reopen(word: str, overrides: Sequence[str]) -> Run:
    """The run of a word; UserError if it is a checkpoint, which has no folder for images."""
    if fetch.is_weights(word):
        raise UserError(f"{word} is no run. Evaluate it first: python -m harness evaluate run={word} data=…")
    return reopen(word, overrides)


def _cell(score: Score) -> str:
    return f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]"


def _write(path: Path, found: Matrix) -> None:
    """Write a line for each pair: attacked and judging run, attack, number of images, accuracy and its interval."""
    attack = found.attack
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["attacked", "judged", "norm", "eps", "n", "accuracy", "low", "high"])
        for attacked, row in zip(["", *found.runs], [found.clean, *found.rows], strict=True):
            for judged, score in zip(found.runs, row, strict=True):
                lines.writerow([attacked, judged, attack.norm, attack.eps, score.n, score.value, score.low, score.high])
