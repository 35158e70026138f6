"""Time `report` and `status` beside bad folders, and without them: python benchmarks/bad_folders.py [RUNS] [TIMES].

Prints a markdown table. The good runs are those of leaderboard.py; the bad folders are one of each kind that the tests
know (tests/helpers/bad_kinds.py), each of which is named. A command is timed by turns in a folder without and in one
with the bad folders; the table has the medians of the processors' seconds, which a busy machine changes least, and the
median ratio of the pairs.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from leaderboard import fill

sys.path.append(str(Path(__file__).parents[1] / "tests" / "helpers"))
from bad_kinds import KINDS, bad

COMMANDS = ("report", "status")


def seconds(command: str, folder: Path) -> tuple[float, int]:
    """Return the processors' seconds that a command takes with all its processes, and its lines on stderr."""
    line = [sys.executable, "-m", "harness", command, "reports=reports"]
    with (folder.parent / "errors").open("w+") as errors:
        process = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0  # it was waited for already
        errors.seek(0)
        return used.ru_utime + used.ru_stime, len(errors.readlines())


def main() -> None:
    """Make the folders and time each command by turns without and with the bad ones."""
    given = [int(word) for word in sys.argv[1:3]]
    count, times = given + [20, 7][len(given) :]
    with tempfile.TemporaryDirectory() as scratch:
        good, both = Path(scratch) / "good", Path(scratch) / "both"
        for root in (good, both):
            root.mkdir()
            fill(root, range(count))
        kinds = [kind for kind in KINDS if not kind.row]
        bad(both, kinds)
        print(f"| command, {count:,} runs | alone, s | beside {len(kinds)} bad folders, s | ratio | named |")
        print("| --- | --- | --- | --- | --- |")
        for command in COMMANDS:
            pairs = [(seconds(command, good)[0], *seconds(command, both)) for _ in range(times)]
            alone, beside = (median(pair[side] for pair in pairs) for side in (0, 1))
            ratio = median(pair[1] / pair[0] for pair in pairs)
            print(f"| `{command}` | {alone:.2f} | {beside:.2f} | {ratio:.2f} | {pairs[-1][2]} |", flush=True)


if __name__ == "__main__":
    main()
