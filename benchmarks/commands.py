"""What a command of Python takes, for the benchmarks of what people wait for."""

import os
import subprocess
import sys
import time
from pathlib import Path


def taken(words: list[str], folder: Path, kept: Path) -> tuple[float, float, str]:
    """Seconds that `python WORDS` takes in a folder, processor seconds, and what it writes to stderr.

    kept: the folder of the answers that earlier commands have kept. CalledProcessError if the command fails.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(kept)}
    before, started = os.times(), time.monotonic()
    line = [sys.executable, *words]
    done = subprocess.run(line, cwd=folder, env=environment, check=True, capture_output=True, text=True)
    after, seconds = os.times(), time.monotonic() - started
    return seconds, sum(after[2:4]) - sum(before[2:4]), done.stderr
