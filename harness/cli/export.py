"""Write finished runs into one archive for others: config, record, curves, pictures, code and versions of packages."""

from pathlib import Path
from tempfile import TemporaryDirectory

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.errors import UserError
from harness.core.settings import settings
from harness.core.text import counted
from harness.cost.disk import size
from harness.launch.snapshot import snapshot
from harness.runs import archive
from harness.runs.run import find, load

WORDS = ("RUN …",)
EXAMPLE = "atjem-digits-s0-c1a31312 weights=true"


@settings
class Arguments:
    """weights: add the weights of all stages. samples: add the samples.

    out: the file (null: RUN.zip for one run, runs.zip for several).
    """

    weights: bool = False
    samples: bool = False
    out: str | None = None


def run(request: Request) -> None:
    """Write the archive."""
    arguments, root = request.arguments, Path(request.config.runs)
    if not request.words:
        raise UserError(f"export needs the names or folders of runs, such as: python -m harness export {EXAMPLE}")
    runs = [load(folder) for folder in dict.fromkeys(find(word, root) for word in request.words)]
    path = Path(arguments.out or (f"{runs[0].name}.zip" if len(runs) == 1 else "runs.zip"))
    with TemporaryDirectory() as scratch:
        files = archive.write(path, runs, snapshot(Path(scratch)), arguments.weights, arguments.samples)
    console.print(
        f"Written: {path} ({counted(len(runs), 'run')}, {counted(len(files), 'file')}, {size(path.stat().st_size)})",
        soft_wrap=True,
    )
