"""One AT-JEM joint step runs through at most twelve files, so that a reader can follow it."""

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "files_of_a_step.py"


def test_at_most_twelve_files_count(capsys):
    runpy.run_path(str(SCRIPT), run_name="__main__")
    *files, last = capsys.readouterr().out.splitlines()
    assert {"methods/atjem.py", "harness/training/loop.py", "harness/core/walk.py"} <= {*files}
    assert len(files) <= 12 and last.startswith(f"{len(files)} files count")
