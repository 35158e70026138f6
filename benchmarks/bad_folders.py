"""Time `report` and `status` beside bad folders, and without them: python benchmarks/bad_folders.py [RUNS].

Prints a markdown table. The good runs are those of leaderboard.py; the bad folders are one of each kind that the tests
know (tests/helpers/bad_kinds.py), each of which is named.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from leaderboard import fill

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from bad_kinds import KINDS, bad

COMMANDS = ("report", "status")
TIMES = 3
"""How often each command is timed; the fastest time counts, as the machine may be busy."""


def seconds(command: str, folder: Path) -> tuple[float, int]:
    """Return the fastest time of a command, and how many lines it wrote on stderr."""
    times, lines = [], 0
    for _ in range(TIMES):
        started = time.monotonic()
        line = [sys.executable, "-m", "harness", command, "reports=reports"]
        process = subprocess.run(line, cwd=folder, check=False, capture_output=True, text=True)
        times.append(time.monotonic() - started)
        lines = process.stderr.count("\n")
    return min(times), lines


def main() -> None:
    """Make the folders and time each command without and with the bad ones."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        fill(root, count)
        good = {command: seconds(command, root)[0] for command in COMMANDS}
        kinds = [kind for kind in KINDS if not kind.row]
        bad(root, kinds)
        print(f"| command, {count:,} runs | alone, s | beside {len(kinds)} bad folders, s | ratio | named |")
        print("| --- | --- | --- | --- | --- |")
        for command in COMMANDS:
            took, lines = seconds(command, root)
            print(f"| `{command}` | {good[command]:.1f} | {took:.1f} | {took / good[command]:.2f} | {lines} |")


if __name__ == "__main__":
    main()
